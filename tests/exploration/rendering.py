"""A course as text: what was played, how to read it, and a line for each moment.

Nothing in it depends on the clock, on hashes or on uids, so that two logs differ where behaviour does.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from tests.exploration.course import Course, Moment, ids

WIDTH = 120
SIGNS = "capital: healthy | small: starts | !: unhealthy | ~: ends | _: has no pod | >: what happens to the set"
FIGURES = "gate: unhealthy of all, before a batch | bad: failed or unhealthy of the upgraded, after it"


def render(title: str, story: str, course: Course) -> str:
    """The whole log."""
    columns = Columns(course)
    lines = [f"# {title}", "#", *(f"# {line}" for line in textwrap.wrap(story, WIDTH - 2)), "#"]
    lines += [f"# {line}" for line in _legend(course, columns)]
    lines += ["", f"{'time':>8}  {columns.ruler}"]
    for same in _folded(course.moments):
        lines += _lines(same[0], columns)
        if len(same) > 1:
            lines.append(
                f"{'...':>8}  {' ' * len(columns.ruler)}  {len(same) - 1} times more, until {clock(same[-1].at)}"
            )
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return _named(text, course)


def clock(seconds: float) -> str:
    """Time since the beginning: `1:02:03`, `2:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Columns:
    """Instances side by side: in fives, or by zone and update domain where these matter."""

    def __init__(self, course: Course) -> None:
        spec = course.spec
        self.zones = spec.zones
        self.domains = (spec.update_domains or 5) if spec.service_fabric is not None else 0
        groups: dict[tuple[int, int], list[int]] = {}
        for number in sorted({number for moment in course.moments for number in moment.fleet}):
            groups.setdefault(self._group(number), []).append(number)
        self.groups = dict(sorted(groups.items()))
        self.ruler = self.row({number: str(number % 10) for group in groups.values() for number in group})

    def _group(self, number: int) -> tuple[int, int]:
        zones = max(1, len(self.zones))
        if not self.zones and not self.domains:
            return number // 5, 0
        return number % zones, number // zones % self.domains if self.domains else 0

    def row(self, fleet: Mapping[int, str]) -> str:
        """A sign for each instance."""
        return " ".join("".join(fleet.get(number, " ") for number in group) for group in self.groups.values())

    def legend(self) -> str:
        """Where the instances are, if that is not just their order."""
        if not self.zones and not self.domains:
            return ""
        names = {place: self.zones[place[0]] if self.zones else str(place[1]) for place in self.groups}
        kind = "zones" if self.zones else "update domains"
        return f"{kind}: " + " | ".join(f"{names[place]} {ids(group)}" for place, group in self.groups.items())


def _lines(moment: Moment, columns: Columns) -> Iterator[str]:
    """The line of a moment, and its sentences below."""
    head = f"{clock(moment.at):>8}  {columns.row(moment.fleet)}  "
    text = ("> " if moment.note else "") + " | ".join(moment.parts)
    first, *more = textwrap.wrap(text, WIDTH - len(head)) or [""]
    yield head + first
    indent = " " * len(head)
    for line in more:
        yield f"{indent}{line}"
    for sentence in moment.below:
        yield from textwrap.wrap(sentence, WIDTH, initial_indent=indent + "- ", subsequent_indent=indent + "  ")


def _legend(course: Course, columns: Columns) -> Iterator[str]:
    several = len({model for model, _, _ in course.letters}) > 1
    builds = (
        f"{letter} {version}" + (f" of {model}" if several else "")
        for (model, version, _), letter in course.letters.items()
    )
    yield " | ".join(builds)
    yield SIGNS
    yield FIGURES
    if legend := columns.legend():
        yield legend


def _folded(moments: Iterable[Moment]) -> Iterator[list[Moment]]:
    """Moments in a row that say the same."""
    row: list[Moment] = []
    for moment in moments:
        if row and (moment.parts, moment.below, moment.fleet) != (row[0].parts, row[0].below, row[0].fleet):
            yield row
            row = []
        row.append(moment)
    if row:
        yield row


def _named(text: str, course: Course) -> str:
    """Models by number, in the order in which they appear: their names carry hashes."""
    names = list(dict.fromkeys([*(model for model, _, _ in course.letters), *course.models, course.model.name]))
    numbers = {name: str(number) for number, name in enumerate(names, 1)}
    pattern = re.compile("([Mm]odel )?(" + "|".join(map(re.escape, names)) + ")")
    return pattern.sub(lambda found: (found[1] or "model ") + numbers[found[2]], text)
