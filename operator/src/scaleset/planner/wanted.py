"""The accepted part of the spec."""

from dataclasses import dataclass

from scaleset.planner.revisions import Revision
from scaleset.planner.state import Target

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
class Wanted:
    """The build of a new instance: the newest accepted model, and the version that its image reference means now."""

    model: Revision
    version: str | None
    image: str | None

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
        )
