"""The input and the output of a decision, both plain frozen data."""

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
    """Position of a set among the sets of its policy (`maxConcurrentScaleSets`)."""

    rolling: int
    """Other sets that roll."""
    ahead: int
    """Other sets that have waited longer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The API server's answer to a dry run of one pod of a model. A refused dry run is repeated at `retry_at`."""

    accepted: bool
    message: str = ""
    quota: bool = False
    """Whether a quota refuses: a pod without room beside the others may still fit in place of one."""
    retry_at: float | None = None
    reason: str = "ModelRefused"
    """Reason of a refusal, in one word."""
    same_as: str = ""
    """Name of the stored model that produces the same instances."""
    warning: str = ""
    """A warning about a model that runs nevertheless."""
    unanswered: bool = False
    """Whether the dry run of a running model had no result: it is repeated at `retry_at`."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An instance to create anew, with its missing claims."""

    instance: int
    build: Build
    claims: tuple[str, ...] = ()


Question = tuple[Newcomer, ...]
"""Identity of a dry run."""


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
    """The model of the spec."""
    now: float
    policy: UpgradePolicySpec | None = field(default_factory=UpgradePolicySpec)
    """None if the policy that the set refers to does not exist."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[int, Pod] = field(default_factory=dict)
    """Pods that the set owns, by instance id."""
    foreign_pods: Mapping[int, str] = field(default_factory=dict)
    """Instance ids whose pod name is taken by a foreign object, with a sentence."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    models: tuple[Revision, ...] = ()
    """Stored models (ControllerRevisions of the set)."""
    catalogue: tuple[GalleryVersion, ...] = ()
    refusals: Mapping[int, str] = field(default_factory=dict)
    """Instances whose pod or claim the API server refused to create, with its words."""
    patch_errors: Mapping[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server refused to change in place, with its words."""
    delete_errors: Mapping[str, str] = field(default_factory=dict)
    """Pods, by uid, that the API server refused to delete or change, with its words."""
    ages: Mapping[int, float] = field(default_factory=dict)
    """When each instance was first created, if it is remembered."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """By name of the model."""
    admissions: Mapping[Question, Verdict] = field(default_factory=dict)
    """Answers to the dry runs that a plan of this pass asked for, by their identity."""
    declined: Mapping[str, Verdict] = field(default_factory=dict)
    """The last refusal of a replacement with the time to ask again, by name of the model."""
    turn: Turn | None = None
    """None if the policy has no concurrency limit."""
    fresh: bool = False
    """Whether `pods`, `policy` and `catalogue` are from LISTs that began after our last write."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """The present status: it shows which events were sent already."""


@dataclass(frozen=True, slots=True)
class Creation:
    """Create the pod of an instance, after its missing claims."""

    instance: int
    build: Build
    previous: Build | None
    created_at: float
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """Delete exactly this pod."""

    instance: int
    name: str
    uid: str


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
    """Why no batch runs, one of `figures.REASONS`; empty if a batch runs, or if no rollout is needed."""
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
