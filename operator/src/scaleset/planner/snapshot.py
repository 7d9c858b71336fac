"""What goes into a decision and what comes out of it. Both are plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Build, Change, Claim, Pod
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.state import State


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a set stands among those of its policy (`maxConcurrentScaleSets`)."""

    rolling: int
    """Other sets that roll."""
    ahead: int
    """Other sets that have waited longer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the API server said to a dry run of one pod of a model. A refusal is asked about again at `retry_at`."""

    accepted: bool
    message: str = ""
    quota: bool = False
    """Whether it is a quota that refuses: what does not fit beside the others may still fit in place of one."""
    retry_at: float | None = None
    reason: str = "ModelRefused"
    """Of a refusal: what is refused, in one word."""
    same_as: str = ""
    """Name of the stored model that makes the same instances."""
    warning: str = ""
    """What is wrong with a model that runs all the same."""
    unanswered: bool = False
    """Whether nothing was learned about a model that runs already: it is asked about again at `retry_at`."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An instance that is to be made anew, and those of its claims that are missing."""

    instance: int
    build: Build
    claims: tuple[str, ...] = ()


Question = tuple[Newcomer, ...]
"""What a dry run is about."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything observed about one ScaleSet at one moment. Times are seconds since the epoch by the API server's
    clock.
    """

    owner: Identity
    generation: int
    spec: ScaleSetSpec
    state: State
    model: Revision
    """The model that the spec asks for."""
    now: float
    policy: UpgradePolicySpec | None = field(default_factory=UpgradePolicySpec)
    """None when the policy that the set refers to does not exist."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[int, Pod] = field(default_factory=dict)
    """Pods that the set owns, by instance id."""
    foreign_pods: Mapping[int, str] = field(default_factory=dict)
    """Instance ids whose pod name is taken by something that is not ours, with a sentence."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    models: tuple[Revision, ...] = ()
    """Stored models (ControllerRevisions of the set)."""
    catalogue: tuple[GalleryVersion, ...] = ()
    refusals: Mapping[int, str] = field(default_factory=dict)
    """Instances whose pod or claim the API server would not create when last asked, with its words."""
    patch_errors: Mapping[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server would not change in place, with its words."""
    delete_errors: Mapping[str, str] = field(default_factory=dict)
    """Pods, by uid, that the API server would not let be deleted, or changed, when last asked, with its words."""
    ages: Mapping[int, float] = field(default_factory=dict)
    """When each instance was first created, as far as it is remembered."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """By name of the model."""
    admissions: Mapping[Question, Verdict] = field(default_factory=dict)
    """The dry runs that were made for this pass because a plan asked for them, by what they are about."""
    declined: Mapping[str, Verdict] = field(default_factory=dict)
    """By name of the model, the last refusal of what was to be replaced, with the time to ask again."""
    turn: Turn | None = None
    """None when the policy lets any number of sets roll."""
    fresh: bool = False
    """Whether `pods`, `policy` and `catalogue` are from LISTs that began after our last write."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """The status as it stands, for what must be said only once."""


@dataclass(frozen=True, slots=True)
class Creation:
    """Create the pod of an instance, after those of its claims that are missing."""

    instance: int
    build: Build
    previous: Build | None
    created_at: float
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """Delete a pod: this very one."""

    instance: int
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ImageChange:
    """Change the image of a running pod: of this very one, as it was seen."""

    instance: int
    name: str
    uid: str
    resource_version: str
    build: Build
    previous: Build | None
    change: Change


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, told to the user."""

    reason: str
    message: str
    warning: bool = False
    rollout: str | None = None
    """Id of the rollout that runs, or has just ended."""
    batch: int | None = None
    """Number of the batch that runs, or has just ended."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """Ask the API server whether it would take this pod and, where a batch is named, all that the batch needs. The pods
    that have the names of these instances now will be gone by then.
    """

    model: Revision
    build: Build
    instance: int
    batch: Question = ()

    @property
    def about(self) -> Question:
        """What tells it from another one."""
        return self.batch or (Newcomer(self.instance, self.build),)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """Ask the API server about a model."""

    model: Revision
    build: Build
    instance: int
    """Whose name the pod bears that is to be admitted: rules that go by names apply."""
    beside: int = 0
    """An id whose pod and claims do not exist: what bears a name that is taken is answered with no object."""
    stored: tuple[Revision, ...] = ()
    """Stored models that it may be another spelling of, the likeliest first."""
    runs: bool = False
    """Whether it is stored itself: then it is only warned about."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be observed before this decision can be taken. While there are needs nothing else of the plan is
    carried out.
    """

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
    """A set in numbers, for metrics: what the status does not say, or not in numbers."""

    instances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many instances by version and health; together they are all instances, the missing ones too."""
    behind: int = 0
    """Versions that `latest` could choose and that are newer than the oldest one that an instance runs."""
    blocked: str = ""
    """Why no batch runs, one of `figures.REASONS`; empty when a batch runs, or nothing is to be done."""
    batch: int = 0
    """The running batch, else the last one."""
    batches: int = 0
    """How many batches the rollout takes in all, as planned now."""
    from_version: str = ""
    """What the running or last rollout started from, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: store the model, write the status, then delete, change in place and create, then tell."""

    state: State
    status: Mapping[str, Any] = field(default_factory=dict)
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
