"""What the spec asks for, as far as it is accepted."""

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
        """Whether the spec contradicts itself or its policy: then nothing of it is acted on, its size included. What
        only misses something outside it (a policy, an image, room for its pods) is about new pods: scaling goes on
        with the model before, and scaling in may be what makes room.
        """
        return self.reason == INVALID


PENDING = Acceptance("Pending", "not looked at yet")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new instance would run: the newest accepted model, and the version that its image reference means now."""

    model: Revision
    version: str | None
    image: str | None

    @property
    def target(self) -> Target:
        """As the target of an image upgrade or of a changed image reference."""
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
