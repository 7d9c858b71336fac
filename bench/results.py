"""What a run found, as data: kept in JSON after every row, so that a run can be resumed and a page be made of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from .contenders import BATCH_PERCENT
from .timeline import Timeline
from .turns import Turn


def batches(replicas: int) -> int:
    """How many batches of a fifth, rounded down but of one at least, it takes."""
    size = max(1, replicas * BATCH_PERCENT // 100)
    return -(-replicas // size)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A good image, from its publication until all instances are Ready on it.

    `writes`: requests that changed something, by resource (`pods`, `statefulsets/status`, `events`), from the
    publication until three seconds after the last instance was Ready; leases are left out. `cpu` in seconds and
    `memory` in MiB (largest resident size) are those of the controller's process. `machine`: share of all processors
    in use. `quiet` and `starting`: seconds in which nobody was down, and in which all that was down had only to start.
    `fixed_work`: seconds that the same piece of work took on one processor right before, on the machine as it was then.
    """

    contender: str
    limits: str
    replicas: int
    start: float
    seconds: float | None = None
    most_unavailable: int = 0
    writes: Mapping[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    memory: float = 0.0
    machine: float = 0.0
    quiet: float | None = None
    starting: float | None = None
    fixed_work: float | None = None
    together: bool = False
    error: str = ""

    @property
    def key(self) -> tuple[str, str, int, float]:
        return self.contender, self.limits, self.replicas, self.start

    @property
    def pure(self) -> float:
        """Seconds that no controller could save: batches times the start of an instance."""
        return batches(self.replicas) * self.start

    @property
    def overhead(self) -> float | None:
        return None if self.seconds is None else self.seconds - self.pure

    @property
    def writes_per_instance(self) -> float:
        return sum(self.writes.values()) / self.replicas


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image whose instances never become Ready.

    `exposed`: pods that ever had it. `alone`: seconds until all instances were Ready again without it and without help,
    None if that did not happen within `patience` seconds. Then `human` is what a person had to do, and `helped` the
    seconds from the last of it until all were Ready.
    """

    contender: str
    replicas: int
    deadline: float
    exposed: int = 0
    most_unavailable: int = 0
    alone: float | None = None
    patience: float = 0.0
    human: str = ""
    helped: float | None = None
    error: str = ""


@dataclass(slots=True)
class Results:
    """All rows of a run, and what it ran on."""

    about: dict[str, Any]
    rollouts: list[Rollout] = field(default_factory=list)
    bad_images: list[BadImage] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    timelines: list[Timeline] = field(default_factory=list)

    def add(self, row: "Row") -> None:
        """Takes the place of an earlier row about the same."""
        if isinstance(row, Rollout):
            self.rollouts = [each for each in self.rollouts if each.key != row.key] + [row]
        elif isinstance(row, Turn):
            self.turns = [each for each in self.turns if each.key != row.key] + [row]
        elif isinstance(row, Timeline):
            self.timelines = [each for each in self.timelines if each.key != row.key] + [row]
        else:
            self.bad_images = [each for each in self.bad_images if each.contender != row.contender] + [row]

    def rollout(self, contender: str, limits: str, replicas: int, start: float) -> Rollout | None:
        wanted = contender, limits, replicas, start
        return next((each for each in self.rollouts if each.key == wanted), None)

    def turns_of(self, contender: str, *, replicas: int, busy: int) -> list[Turn]:
        return [each for each in self.turns if each.key[:3] == (contender, replicas, busy)]

    def with_turns_of(self, other: Self) -> Self:
        """These results, and those turns in place of the ones of the same contender, size and number of busy loops.
        Likewise for timelines.
        """
        cells = {turn.key[:3] for turn in other.turns}
        lines = {line.key for line in other.timelines}
        return replace(
            self,
            turns=[turn for turn in self.turns if turn.key[:3] not in cells] + other.turns,
            timelines=[line for line in self.timelines if line.key not in lines] + other.timelines,
        )

    def bad_image(self, contender: str) -> BadImage | None:
        return next((each for each in self.bad_images if each.contender == contender), None)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        body = {
            "about": self.about,
            "rollouts": [_rounded(asdict(each)) for each in self.rollouts],
            "badImages": [_rounded(asdict(each)) for each in self.bad_images],
            "turns": [_rounded(asdict(each)) for each in self.turns],
            "timelines": [asdict(each) | {"milestones": _rounded(dict(each.milestones))} for each in self.timelines],
        }
        new.write_text(json.dumps(body, indent=1) + "\n")
        new.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ValueError with a sentence that says what to do when the file is not one of this version."""
        try:
            body = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise ValueError(f"{path} is not there: measure first.") from error
        except ValueError as error:
            raise ValueError(f"{path} is no JSON ({error}): delete it and measure again.") from error
        try:
            return cls(
                about=body["about"],
                rollouts=[Rollout(**each) for each in body["rollouts"]],
                bad_images=[BadImage(**each) for each in body["badImages"]],
                turns=[Turn(**each) for each in body["turns"]],
                timelines=[Timeline(**each) for each in body["timelines"]],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} holds no results of this version ({error}): delete it and measure again."
            ) from error


Row = Rollout | BadImage | Turn | Timeline
"""What is measured at a time."""


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
