"""The durable state: the part of a ScaleSet's status that decisions depend on. It survives a crash.

The state is written before it is acted on (write-ahead), so that an operator that is killed at any point continues
after a restart. `builds` names the build of each instance. A pod that differs from it is replaced only while its
instance is in the running batch or in `applying`; a lost pod is created again from it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from scaleset.api.upgrade_policy import ReplacementMethod, RollingUpgradePolicy, UpgradePolicySpec
from scaleset.planner.instances import Build
from scaleset.planner.targets import FailedTarget, Retry, Target

NOBODY: frozenset[int] = frozenset()

V = TypeVar("V")

ROW_SECONDS = 600.0
"""Seconds after which an ended pod begins a new row."""


class Kind(StrEnum):
    """The subject of a rollout: the image, the model, or the same build once more."""

    IMAGE = "Image"
    MODEL = "Model"
    RESTART = "Restart"


class Code(StrEnum):
    """Azure's status codes of a rolling upgrade."""

    ROLLING_FORWARD = "RollingForward"
    CANCELLED = "Cancelled"
    COMPLETED = "Completed"
    FAULTED = "Faulted"


class StartedBy(StrEnum):
    """The origin of a rollout: the platform or a user."""

    PLATFORM = "Platform"
    USER = "User"


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy that a rollout started with; durations in seconds."""

    rolling: RollingUpgradePolicy = field(default_factory=RollingUpgradePolicy)
    health_timeout: float = 300.0
    min_ready_time: float = 0.0
    """How long an instance has to stay healthy."""
    disable_automatic_rollback: bool = False
    upgrade_timeout: float | None = None
    """How long the whole run may take, without the time in which it is held."""
    method: ReplacementMethod = "Recreate"

    @property
    def in_place(self) -> bool:
        """Whether an image is changed in the running pod where that is possible."""
        return self.method != "Recreate"

    @property
    def only_in_place(self) -> bool:
        """Whether no pod may be made again for an upgrade."""
        return self.method == "InPlaceOnly"

    @property
    def pause(self) -> float:
        return self.rolling.pause_time_between_batches.total_seconds()

    @classmethod
    def snapshot(cls, spec: UpgradePolicySpec, kind: Kind, *, by: str) -> "Policy":
        """The part of an UpgradePolicy that applies to a rollout of that kind; `by` is the set's health source."""
        automatic = spec.automatic_os_upgrade_policy
        own = kind is not Kind.IMAGE or automatic.use_rolling_upgrade_policy
        return cls(
            rolling=spec.rolling_upgrade_policy if own else RollingUpgradePolicy(),
            health_timeout=spec.health_timeout.total_seconds(),
            min_ready_time=spec.ready_for(by).total_seconds(),
            disable_automatic_rollback=automatic.disable_automatic_rollback,
            upgrade_timeout=None if spec.upgrade_timeout is None else spec.upgrade_timeout.total_seconds(),
            method=spec.replacement_method,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances that are replaced together."""

    number: int
    of: int
    instances: frozenset[int]
    started: float
    restore_started: float | None = None
    surge: frozenset[int] = NOBODY
    """New instances of a surge, created beside the instances that they replace; a part of `instances`."""
    replaces: frozenset[int] = NOBODY
    """Old instances that go once the instances of `surge` are healthy: paired one for one, in order of their ids."""

    @property
    def pairs(self) -> Mapping[int, int]:
        """The old instance that each new one replaces."""
        return dict(zip(sorted(self.surge), sorted(self.replaces), strict=False))


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a rollout waits: a reason code and a sentence."""

    reason: str
    message: str
    stalls: bool = False
    """Whether only somebody else can end the wait."""


@dataclass(frozen=True, slots=True)
class UpgradeError:
    """Azure's ApiError."""

    code: str
    message: str
    target: str = ""
    details: tuple["UpgradeError", ...] = ()
    """The errors of instances; they have no details of their own."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A decision to end the rollout once its batch is through."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rolling upgrade.

    `in_progress` are the undecided instances of the running batch; an instance that is also in `failed` is being
    restored.
    """

    id: str
    kind: Kind
    started_by: StartedBy
    target: Target
    policy: Policy
    started: float
    code: Code = Code.ROLLING_FORWARD
    completed: float | None = None
    last_action: str = "Start"
    last_action_time: float = 0.0
    batch: Batch | None = None
    batches_done: int = 0
    next_batch: float | None = None
    deadline: float | None = None
    """When the run ends as Faulted; None without an upgradeTimeout."""
    held_since: float | None = None
    """Since when the run waits for something that does not count for its deadline."""
    successful: frozenset[int] = NOBODY
    failed: frozenset[int] = NOBODY
    restored: frozenset[int] = NOBODY
    restore_failed: frozenset[int] = NOBODY
    in_progress: frozenset[int] = NOBODY
    pending: frozenset[int] = NOBODY
    from_version: str | None = None
    from_model: str | None = None
    """What most of its instances ran when it began."""
    with_model: bool = False
    """For an image upgrade: whether it includes instances that lack only the newest model."""
    version_only: bool = False
    """For a model rollout: whether the models differ in the version only, so that it restores like an image upgrade."""
    never_ran: frozenset[int] = NOBODY
    """Failed instances whose kubelet never tried the image: the image is not to blame."""
    without_surge: bool = False
    """Whether new instances could not be scheduled beside the old ones: the rest of the rollout runs without surge."""
    messages: Mapping[int, str] = field(default_factory=dict)
    """The message of Kubernetes about each failed instance."""
    waiting: Waiting | None = None
    ending: Ending | None = None
    error: UpgradeError | None = None
    """Why the run ended. While it runs: why it will end once the failed instances have their previous model back."""

    @property
    def running(self) -> bool:
        return self.code is Code.ROLLING_FORWARD

    @property
    def upgraded(self) -> frozenset[int]:
        """Instances that this run has finished, successful or failed."""
        return self.successful | self.failed

    @property
    def verifying(self) -> frozenset[int]:
        return self.in_progress - self.failed

    @property
    def restoring(self) -> frozenset[int]:
        return self.in_progress & self.failed

    @property
    def leaving(self) -> frozenset[int]:
        """Instances that go at the end of a surging batch: old instances with a healthy successor, and failed new ones.

        The batch stays open until their pods are terminating, so that a new leader knows of them.
        """
        if self.batch is None or self.in_progress or not self.running:
            return NOBODY
        pairs = self.batch.pairs.items()
        return frozenset(old for new, old in pairs if new in self.successful).union(
            new for new, _ in pairs if new in self.failed
        )

    @property
    def started_rolling(self) -> bool:
        """Whether it has admitted a batch: from then on it counts for `maxConcurrentScaleSets`."""
        return self.batch is not None or self.batches_done > 0

    @property
    def rolls_back_on_breach(self) -> bool:
        """Whether a breach takes failed instances back to their previous model."""
        return self.kind is Kind.MODEL and self.policy.rolling.rollback_failed_instances_on_policy_breach

    @property
    def may_go_back(self) -> frozenset[int]:
        """Instances whose previous build is still needed, although a pod of the new build may exist. If the run
        restores, they are kept until it has ended, since a version may break after its batch.
        """
        if self.restores:
            return self.in_progress | self.upgraded
        return self.in_progress | (self.failed if self.rolls_back_on_breach else NOBODY)

    @property
    def restores(self) -> bool:
        """Whether a failed instance gets its previous build back: only in an upgrade of the image that the platform
        started, and where the model changes nothing but the version, whoever started it.
        """
        by_platform = self.kind is Kind.IMAGE and self.started_by is StartedBy.PLATFORM
        return (by_platform or self.version_only) and not self.policy.disable_automatic_rollback

    @property
    def mends(self) -> bool:
        """Whether the run replaces broken instances first: a new model, or a restart, is the usual way to recover."""
        return self.kind is not Kind.IMAGE or self.with_model

    @property
    def restart(self) -> float | None:
        """The time that the pods of a restart bear; None of any other rollout."""
        return float(int(self.started)) if self.kind is Kind.RESTART else None

    @property
    def judges(self) -> bool:
        """Whether the end of the run says something about a target: a restart has none."""
        return self.kind is not Kind.RESTART

    @property
    def noun(self) -> str:
        """What the rollout is called in sentences."""
        return "Restart" if self.kind is Kind.RESTART else "Rolling upgrade"

    @property
    def to(self) -> str:
        """The second half of its name: where it goes."""
        if self.kind is Kind.RESTART:
            return ""
        return f" to version {self.target.version}" if self.target.version else f" to model {self.target.model}"

    @property
    def done_to(self) -> str:
        """What it does to an instance."""
        return "restarted" if self.kind is Kind.RESTART else "upgraded"


class Checked(NamedTuple):
    """The result of checking the model of the spec, kept so that it is checked once."""

    asked: str
    """Its name, whether or not a ControllerRevision has it."""
    model: str
    """The stored model that it equals: itself, or one that produces the same instances."""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """The deadline of one instance: the health timeout after `since`."""

    since: float | None
    """When the clock started; None while it stands still because others deleted the pod."""
    lost: int = 0
    """How often others deleted a pod that had the new build."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Pods of one instance that ended for good (evicted, rejected by the kubelet) in a row."""

    count: int
    time: float
    """When the last one was deleted to be created again."""

    @property
    def delay(self) -> float:
        """Seconds until the pod is created again: 10 s after the first, doubling up to 5 minutes, as a kubelet restarts
        a crashing container.
        """
        return float(min(300, 10 * 2 ** min(self.count - 1, 10)))


@dataclass(frozen=True, slots=True)
class ScaleIn:
    """Scaling in that is under way."""

    size: int
    """The number of instances before scaling in."""
    started: float
    waiting: float | None = None
    """Since when the next batch waits for the instances that stay."""


@dataclass(frozen=True, slots=True)
class State:
    """The durable state of a ScaleSet."""

    replicas: int | None = None
    """The size that was accepted last; None before any was."""
    current_version: str | None = None
    current_image: str | None = None
    proven: float | None = None
    """When the gate was first open. From then on there is something to protect."""
    waiting_since: float | None = None
    """Since when only `maxConcurrentScaleSets` keeps a rollout from starting."""
    handled_start: str | None = None
    handled_cancel: str | None = None
    handled_apply: str | None = None
    handled_restart: str | None = None
    handled_retry: str | None = None
    handled_model_rollout: str | None = None
    handled_rollback: str | None = None
    builds: Mapping[int, Build] = field(default_factory=dict)
    previous: Mapping[int, Build] = field(default_factory=dict)
    applying: frozenset[int] = NOBODY
    clocks: Mapping[int, Clock] = field(default_factory=dict)
    """Deadlines of instances that a batch or a request has in hand."""
    ended: Mapping[int, Ended] = field(default_factory=dict)
    ages: Mapping[int, float] = field(default_factory=dict)
    """First creation times of instances whose pod is about to be deleted: only the pod shows them."""
    scale_in: ScaleIn | None = None
    failed_targets: tuple[FailedTarget, ...] = ()
    retry: Retry | None = None
    rollout: Rollout | None = None
    checked: Checked | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    """Ended image upgrades, newest first, in the shape of `status.osUpgradeHistory`."""
    rollouts: tuple[Mapping[str, Any], ...] = ()
    """Ended rollouts of every kind, newest first, in the shape of `status.rolloutHistory`."""


def extra(state: State) -> int:
    """Number of instances deliberately beyond the wanted size: a surging batch has old and new ones."""
    return len(beside_each_other(state))


def beside_each_other(state: State) -> dict[int, int]:
    """The new instances of a surging batch, each with the old instance that it replaces."""
    rollout = state.rollout
    batch = rollout.batch if rollout is not None and rollout.running else None
    if batch is None:
        return {}
    return {new: old for new, old in batch.pairs.items() if new in state.builds and old in state.builds}


def moved(state: State, builds: Mapping[int, Build]) -> State:
    """The state with new builds for those instances. Counts of their ended pods are dropped: they were about the
    previous build.
    """
    return replace(
        state,
        builds={**state.builds, **builds},
        clocks=_but(state.clocks, builds),
        ended=_but(state.ended, builds),
    )


def dropped(state: State, gone: Collection[int]) -> State:
    """The state without everything about removed instances."""
    return replace(
        state,
        builds=_but(state.builds, gone),
        previous=_but(state.previous, gone),
        applying=state.applying.difference(gone),
        clocks=_but(state.clocks, gone),
        ended=_but(state.ended, gone),
        ages=_but(state.ages, gone),
    )


def _but(known: Mapping[int, V], gone: Collection[int]) -> Mapping[int, V]:
    return {number: value for number, value in known.items() if number not in gone}
