"""One instance for the planner: its recorded build, its pod, and the health of that pod.

A *build* is the pair that an upgrade moves: a model (a ControllerRevision) and an image version. It carries the image
reference too, so that an instance can be created again after its GalleryImageVersion was deleted. A restart moves an
instance to the same build with the time of the restart: only a pod that bears this time is its pod.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from scaleset.planner.gallery import same
from scaleset.planner.placement import NOWHERE, Place


@dataclass(frozen=True, slots=True)
class Build:
    """Model and image version of an instance."""

    model: str
    version: str
    image: str
    restart: float | None = None
    """When the restart began that made the instance again last; None where any pod of the build will do."""
    os_type: str | None = None
    """Operating system of the version; None where it was not recorded."""
    digest: str | None = None
    """What the tag of the image meant when the instance ran it (`digests`); no part of what builds are compared by."""

    @property
    def reference(self) -> str:
        """The image that a pod of the build asks for: by digest, if that is known."""
        return self.image if self.digest is None else f"{self.image}@{self.digest}"

    def same_as(self, pod: "Pod") -> bool:
        """Whether the pod was created from this build. Pods of operators before 1.1 do not record their image; for
        these the version decides.
        """
        known = pod.asked_image or self.image
        alike = (self.model, self.image) == (pod.model, known) and same(self.version, pod.version)
        return alike and self.restart in (None, pod.restart)

    def means(self, other: "Build | None") -> bool:
        """Whether the other build makes the same pod, however its version is spelled and whenever it was restarted."""
        if other is None:
            return False
        return (self.model, self.image) == (other.model, other.image) and same(self.version, other.version)


class Ran(NamedTuple):
    """The previous image of a container that was changed in place."""

    container: str
    image: str
    """The image that it ran, as the pod's spec had it."""
    container_id: str
    """The runtime's id of the container that ran it: another one shows that the change was carried out."""


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of a pod's image in place: when, and what its instance container ran until then."""

    at: float
    container: str
    image: str
    container_id: str
    restarts: int | None = None
    """How often containers of the pod had been started again by then; None where it was not recorded."""
    others: tuple[Ran, ...] = ()
    """Previous images of the other changed containers; operators before 1.1 changed only the instance container."""

    @property
    def ran(self) -> tuple[Ran, ...]:
        """All containers that got the image, the instance container first."""
        return (Ran(self.container, self.image, self.container_id), *self.others)


class Reported(NamedTuple):
    """A condition of a pod that is not one of Kubernetes' own."""

    type: str
    status: str
    since: float | None
    """When it got that status."""
    message: str = ""
    """Reason and sentence of its writer, unless it is True."""
    stale: bool = False
    """Whether it is about the image before: it was not written again since that was changed in place."""


class HealthState(StrEnum):
    """Azure's four states of application health."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    INITIALIZING = "Initializing"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Observed:
    """The identity and version of an object of the API server."""

    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Pod(Observed):
    """The part of a pod that decisions need; times are seconds since the epoch by the API server's clock."""

    owner: str | None
    set_name: str
    model: str
    version: str
    created: float
    deleting: bool = False
    ended: bool = False
    ready: bool = False
    ready_since: float | None = None
    started: float | None = None
    running: bool = False
    running_since: float | None = None
    reporting: bool = True
    message: str = ""
    previous: Build | None = None
    instance_created: float | None = None
    note: str = ""
    """Last words of failed custom data or of a failed extension whose failure is suppressed."""
    images: tuple[tuple[str, str], ...] = ()
    container_ids: tuple[tuple[str, str], ...] = ()
    image_ids: tuple[tuple[str, str], ...] = ()
    """What the runtime says that its running containers run, by container."""
    image_errors: tuple[str, ...] = ()
    """Images that containers cannot be started from, as the spec has them: they cannot be pulled, or are of another
    architecture.
    """
    change: Change | None = None
    current: bool = True
    """Whether its status is about its current image: after a change in place only once its container was started again.
    """
    asked_image: str | None = None
    """The image that was asked for, which admission may have rewritten; None where it was not recorded."""
    reached: bool = True
    """Whether the kubelet got as far as the pod's images; a failure before that is not the fault of an image."""
    unschedulable: bool = False
    """Whether the scheduler has found no node for it."""
    deletion_due: float | None = None
    """When its grace period ends; None unless it is terminating."""
    restarts: int = 0
    """How often its containers have been started again."""
    restart: float | None = None
    """When the restart of the set began that made this pod."""
    conditions: tuple[Reported, ...] = ()
    """Its conditions with a domain name: any of them may be a health source."""
    os_type: str | None = None
    """Linux or Windows, if its spec says so."""

    @property
    def restarted(self) -> bool:
        """Whether a container has ended since the pod got its present build. A change in place restarts some itself."""
        if self.change is None:
            return self.restarts > 0
        return self.change.restarts is not None and self.restarts > self.change.restarts + len(self.change.ran)

    @property
    def begun(self) -> float:
        """When it got its present build: at its creation, or when its image was changed in place."""
        return self.created if self.change is None else self.change.at

    def image_id(self, container: str | None) -> str:
        """What the named container runs, or the first one when no name is given; "" if it does not run."""
        return next((shown for name, shown in self.image_ids if container in (None, name)), "")

    def reported(self, kind: str) -> Reported | None:
        """Its condition of that type, if it is about the present image."""
        found = (each for each in self.conditions if each.type == kind and not each.stale)
        return next(found, None)

    def image(self, container: str | None) -> str:
        """Image of the named container, of the first one when the name is unknown."""
        images = dict(self.images)
        return images.get(container or "", self.images[0][1] if self.images else "")


@dataclass(frozen=True, slots=True)
class Claim(Observed):
    """A persistent volume claim that bears the name of one of ours."""

    set_name: str
    deleting: bool = False
    lost: bool = False
    owners: tuple[str, ...] = ()
    """Uids of the ScaleSets that it names as its owners: it is deleted when none of them exists any more."""

    def goes_with_another(self, uid: str) -> bool:
        """Whether it belongs to other sets than this one, such as an earlier set of the same name."""
        return bool(self.owners) and uid not in self.owners


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it is now."""

    id: int
    build: Build | None
    pod: Pod | None
    health: HealthState
    message: str
    since: float | None
    place: Place = NOWHERE
    held: bool = False
    """Whether its pod cannot be replaced now: it is terminating, or the API server refuses it."""
    queued_behind: int | None = None
    """The instance that has to be healthy before this one is created (`podManagementPolicy: OrderedReady`)."""

    @property
    def healthy(self) -> bool:
        return self.health is HealthState.HEALTHY

    @property
    def on_old_pod(self) -> bool:
        """Whether its pod still has another build than the recorded one."""
        return self.pod is not None and self.build is not None and not self.build.same_as(self.pod)

    @property
    def untouched(self) -> bool:
        """Whether the pod has been neither deleted nor changed yet."""
        return self.on_old_pod and self.pod is not None and not self.pod.deleting

    @property
    def starting(self) -> bool:
        """Whether its pod starts: its health is not known yet."""
        return self.health is HealthState.INITIALIZING and self.queued_behind is None

    @property
    def bad(self) -> bool:
        """Whether every gate counts it as unhealthy. A starting instance does not count; the rollout waits for it."""
        return self.health in (HealthState.UNHEALTHY, HealthState.UNKNOWN)
