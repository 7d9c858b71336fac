"""What was observed about one ScaleSet, and what the API server has answered. Plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Build, Claim, Pod
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.state import State


class QueuePosition(NamedTuple):
    """Position of a set among the sets of its policy (`maxConcurrentScaleSets`)."""

    rolling: int
    """Number of other sets that roll."""
    ahead: int
    """Number of other sets that have waited longer."""


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


class Suspension(NamedTuple):
    """What keeps rollouts from starting and going on."""

    who: str
    field: str
    """The field to change, as sentences name it."""


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
    queue: QueuePosition | None = None
    """None if the policy has no concurrency limit."""
    fresh: bool = False
    """Whether `pods`, `policy` and `catalogue` are from LISTs that began after our last write."""
    reported: ScaleSetStatus = field(default_factory=ScaleSetStatus)
    """The present status: it shows which events were sent already."""

    @property
    def suspension(self) -> Suspension | None:
        """The set's own switch, or that of its policy. Both are read at each decision, whatever a rollout started
        with.
        """
        if self.spec.suspend:
            return Suspension("The set is suspended", "spec.suspend")
        reference = self.spec.upgrade_policy_ref
        if self.policy is None or not self.policy.suspend:
            return None
        if reference is None:
            return Suspension("The set's own policy suspends it", "spec.upgradePolicy.suspend")
        return Suspension(f"UpgradePolicy {reference.name} suspends its sets", "its spec.suspend")
