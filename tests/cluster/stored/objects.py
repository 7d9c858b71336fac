"""Objects that an earlier version of the operator left in the API server, as they were recorded.

One file for each situation, in a folder that is named after the commit of that version: `definitions.json` has its
CustomResourceDefinitions, every other file the objects of one namespace. `python -m tests.cluster.stored` writes them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from tests.cluster.harness.api import Items, Json

FOLDER = Path(__file__).parent
BEFORE = "6f8e8d7"
"""The version before this one: what it stored must be carried on."""
DEFINITIONS = "definitions"
_TIME = re.compile(r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<rest>(\.\d+)?Z)")
_SECONDS = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, slots=True)
class Stored:
    """What one namespace held at one moment."""

    name: str
    recorded: datetime
    objects: tuple[Json, ...]

    @property
    def namespace(self) -> str:
        return namespace(self.name)

    def of(self, kind: str) -> Items:
        return [body for body in self.objects if body["kind"] == kind]

    def uids(self, kind: str) -> dict[str, str]:
        return {body["metadata"]["name"]: body["metadata"]["uid"] for body in self.of(kind)}

    @property
    def scale_set(self) -> Json:
        (found,) = self.of("ScaleSet")
        return found

    def at(self, moment: datetime) -> "Stored":
        """The same as if it had been recorded at that moment: every time in it is moved."""
        moved = timedelta(seconds=round((moment - self.recorded).total_seconds()))

        def later(match: re.Match[str]) -> str:
            return (datetime.strptime(match["seconds"], _SECONDS).replace(tzinfo=UTC) + moved).strftime(
                _SECONDS
            ) + match["rest"]

        objects = tuple(json.loads(_TIME.sub(later, json.dumps(body))) for body in self.objects)
        return replace(self, recorded=self.recorded + moved, objects=objects)


def namespace(name: str) -> str:
    """The namespace that a situation is recorded in, and stored in again."""
    return f"stored-{name}"


@cache
def read(name: str, *, version: str = BEFORE) -> Stored:
    raw = json.loads((FOLDER / version / f"{name}.json").read_text())
    return Stored(name, datetime.fromisoformat(raw["recorded"]), tuple(raw["objects"]))


def names(*, version: str = BEFORE) -> list[str]:
    """All situations of that version."""
    return sorted(path.stem for path in (FOLDER / version).glob("*.json") if path.stem != DEFINITIONS)


def definitions(*, version: str = BEFORE) -> Items:
    """The CustomResourceDefinitions of that version, without the texts that explain their fields."""
    found: Items = json.loads((FOLDER / version / f"{DEFINITIONS}.json").read_text())["objects"]
    return found


def write(path: Path, *, objects: Items, **head: str) -> None:
    """One object a line, so that a difference can be read."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(_lines(objects, head)))


def _lines(objects: Items, head: dict[str, str]) -> Iterator[str]:
    yield "{\n"
    for key, value in head.items():
        yield f"{json.dumps(key)}: {json.dumps(value)},\n"
    yield '"objects": [\n'
    yield ",\n".join(json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True) for body in objects)
    yield "\n]}\n"
