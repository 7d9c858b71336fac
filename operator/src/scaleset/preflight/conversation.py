"""Conversations with the API server before objects are created or deleted: requests, and the meaning of the answers.

A conversation is a generator. It yields the requests of one step, gets their answers in the same order, and returns
their meaning. So the operator, which sends the requests of a step together, and the plugin, which sends them one by
one, share the same requests.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from scaleset.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound, refuses
from scaleset.kube.resources import Resource
from scaleset.planner import surge
from scaleset.planner.snapshot import Verdict
from scaleset.records.projections import plain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: a dry run of a create, a read, or a list; `strict` refuses fields that the API server does not
    know.
    """

    verb: Literal["try", "get", "list"]
    resource: Resource
    body: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    selector: str = ""
    strict: bool = False


Answer = Any
"""An object, a list of them, or an ApiError."""
Questions = Generator[list[Call], list[Answer], T]


def in_turn(asking: Questions[T], answer: Callable[[Call], Answer]) -> T:
    """Hold a conversation, one request after the other."""
    try:
        calls = next(asking)
        while True:
            calls = asking.send([answer(call) for call in calls])
    except StopIteration as done:
        found: T = done.value
        return found


ACCEPTED = Verdict(accepted=True)


def verdict(error: ApiError) -> Verdict:
    """The API server's verdict in an error; raises the error again if it is not about the object.

    A pod bears the name of an instance: AlreadyExists comes last, after every other check was passed.
    """
    if isinstance(error, AlreadyExists):
        return ACCEPTED
    if not (refuses(error) or isinstance(error, NotFound)):
        raise error
    quota = isinstance(error, Forbidden) and surge.QUOTA in error.message
    return Verdict(accepted=False, message=plain(error.message), quota=quota)
