"""What the instances of a set go to: the accepted part of the spec, the target of a rollout, and the targets that are
tried later or not again.
"""

from dataclasses import dataclass

from scaleset.planner.instances import Build
from scaleset.planner.revisions import Revision

INVALID = "InvalidSpec"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether the spec can be carried out: the condition Accepted."""

    reason: str
    message: str
    accepted: bool = False

    @property
    def refuses_all(self) -> bool:
        """Whether the spec contradicts itself or its policy: then no part of it is carried out, not even its size. A
        spec that only lacks something outside it (a policy, an image, room for its pods) affects new pods only: scaling
        continues with the previous model, and scaling in may free the room.
        """
        return self.reason == INVALID


PENDING = Acceptance("Pending", "not looked at yet")


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a rollout. Without a version each instance keeps its own; in a restart its model too."""

    model: str
    publisher: str
    offer: str
    sku: str
    reference: str
    """`latest` or the exact version, as the model says."""
    version: str | None = None
    image: str | None = None
    os_type: str | None = None

    def build_for(self, current: Build) -> Build:
        """The new build of an instance that runs `current`."""
        if self.version is None or self.image is None:
            return Build(
                self.model, self.version or current.version, self.image or current.image, os_type=current.os_type
            )
        return Build(self.model, self.version, self.image, os_type=self.os_type)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The build of a new instance: the newest accepted model, and the version that its image reference means now."""

    model: Revision
    version: str | None
    image: str | None
    os_type: str | None = None

    @property
    def target(self) -> Target:
        """The target of an image upgrade or of a changed image reference."""
        reference = self.model.reference
        return Target(
            self.model.name,
            reference.publisher,
            reference.offer,
            reference.sku,
            reference.version,
            self.version,
            self.image,
            self.os_type,
        )


@dataclass(frozen=True, slots=True)
class FailedTarget:
    """A target that the platform does not try again by itself: an image or a model, with the hash of the rules that
    judged it. Entries of operators before 1.1 have no image and another hash: they hold for the version.
    """

    model: str
    version: str | None
    policy: str
    reason: str
    time: float
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Back-off of a target whose rollout failed without being to blame."""

    model: str
    version: str | None
    attempts: int
    time: float

    @property
    def delay(self) -> float:
        """Seconds: one minute after the first attempt, doubling up to one hour."""
        return float(min(3600, 60 * 2 ** min(self.attempts - 1, 10)))
