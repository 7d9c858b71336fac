"""What is asked of the API server before anything is made or deleted: questions that know nothing of how they are sent.

A conversation is a generator. It yields the requests of one step, gets their answers in the same order, and ends with
what they mean. So the operator, which sends those of a step together, and the plugin, which sends them one after the
other, ask the same.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from scaleset.kube.resources import Resource

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
