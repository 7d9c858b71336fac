"""Conditions as in metav1.Condition, for `kubectl wait`, `helm --wait` and GitOps tools."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from scaleset.api.base import Int, Message, Model, Time, Word, list_map, optional


class Condition(Model):
    """One aspect of the state of an object."""

    type: Word = Field(description="The aspect of the object.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: Word = Field(description="One word for programs: why it has this status.")
    message: Message = optional("A sentence for people: why it has this status.", default="")
    observed_generation: Int | None = optional(
        "metadata.generation of the spec that this condition was computed from.", ge=0
    )
    last_transition_time: Time | None = optional("When the status last changed from one value to another.")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32, json_schema_extra=list_map("type"))]
"""The conditions of an object, at most one of a type."""


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)


def set_condition(existing: tuple[Condition, ...], new: Condition, now: datetime) -> tuple[Condition, ...]:
    """`existing` with `new` in the place of the one of its type, or at the end. Its transition time is kept while the
    status is the same, and is `now`, to the second, when it changed.
    """
    old = find_condition(existing, new.type)
    unchanged = old is not None and old.status == new.status and old.last_transition_time is not None
    time = old.last_transition_time if old is not None and unchanged else now.replace(microsecond=0)
    placed = new.model_copy(update={"last_transition_time": time})
    if old is None:
        return (*existing, placed)
    return tuple(placed if condition.type == new.type else condition for condition in existing)
