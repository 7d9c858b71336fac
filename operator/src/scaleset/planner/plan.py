"""What is to be done about one ScaleSet, and what has to be observed first. Plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scaleset.planner.instances import Build, Change
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Newcomer, Question
from scaleset.planner.state import State


@dataclass(frozen=True, slots=True)
class Creation:
    """Create the pod of an instance, after its missing claims."""

    instance: int
    build: Build
    previous: Build | None
    created_at: float
    claims: tuple[str, ...] = ()


class Deletion(NamedTuple):
    """Delete exactly this pod."""

    instance: int
    name: str
    uid: str
    """The precondition of the delete: a new pod of the same name is another one."""


@dataclass(frozen=True, slots=True)
class ImageChange:
    """Change the image of exactly this running pod, as it was observed."""

    instance: int
    name: str
    uid: str
    resource_version: str
    build: Build
    previous: Build | None
    change: Change
    only: bool = False
    """Whether the pod stays as it is if the API server refuses the change."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event for the user about one decision."""

    reason: str
    message: str
    warning: bool = False
    rollout: str | None = None
    """Id of the rollout that runs, or has just ended."""
    batch: int | None = None
    """Number of the batch that runs, or has just ended."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """Ask the API server whether it would accept this pod and, if a batch is named, everything that the batch needs.
    The present pods of these instances will be gone by then.
    """

    model: Revision
    build: Build
    instance: int
    batch: Question = ()

    @property
    def about(self) -> Question:
        """The identity of the dry run."""
        return self.batch or (Newcomer(self.instance, self.build),)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """Ask the API server about a model."""

    model: Revision
    build: Build
    instance: int
    """The instance whose name the pod of the dry run bears, so that rules about names apply."""
    beside: int = 0
    """An id without pod and claims: a dry run under a taken name returns no object."""
    stored: tuple[Revision, ...] = ()
    """Stored models that it may be another spelling of, the most likely first."""
    runs: bool = False
    """Whether it is stored itself: then it only gets a warning."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Observations that this decision still needs. While there are needs, the rest of the plan is not carried out."""

    fresh: bool = False
    verdict: ModelCheck | None = None
    """A model is to be checked."""
    admission: DryRun | None = None
    """A batch is to be admitted."""

    def __bool__(self) -> bool:
        return self.fresh or self.verdict is not None or self.admission is not None

    def and_of(self, other: "Needs") -> "Needs":
        """Both."""
        if not other:
            return self
        return Needs(self.fresh or other.fresh, other.verdict or self.verdict, other.admission or self.admission)


@dataclass(frozen=True, slots=True)
class Figures:
    """A set in numbers, for metrics that the status does not contain."""

    instances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of instances by version and health, including missing instances."""
    behind: int = 0
    """Versions that `latest` could choose and that are newer than the oldest one that an instance runs."""
    blocked: str = ""
    """Why no batch runs, one of `status.REASONS`; empty if a batch runs, or if no rollout is needed."""
    batch: int = 0
    """The running batch, else the last one."""
    batches: int = 0
    """Number of batches of the whole rollout, as planned now."""
    from_version: str = ""
    """The version that the running or last rollout started from, if it is known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions: store the model, write the status, then delete, change in place and create, then record events."""

    state: State
    status: dict[str, Any] = field(default_factory=dict)
    store: tuple[Revision, ...] = ()
    """Models to create or to renumber, each with its revision number."""
    discard: tuple[Revision, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    changes: tuple[ImageChange, ...] = ()
    creations: tuple[Creation, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: float | None = None
    needs: Needs = field(default_factory=Needs)
    figures: Figures = field(default_factory=Figures)
