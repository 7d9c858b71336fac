"""Base classes and types for the models of all three resources.

The API server is the first judge: bounds and CEL rules are declared here beside the fields and generated into the CRDs.
The models judge again, because a CRD in the cluster may be older than the operator. Specs are parsed strictly
(`Spec.parse` raises InvalidSpec with a sentence for a condition); statuses leniently (`Status.parse` drops what it does
not understand), since an unreadable status must never stop the operator.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict, ValidationError
from pydantic.alias_generators import to_camel

JSON = dict[str, Any]
"""An object of Kubernetes, or a part of one."""
MAX_PROBLEMS: Final = 3
"""Most problems that an InvalidSpec names; more make a condition unreadable."""


def wire_name(name: str) -> str:
    """The JSON name of a field: camelCase, with Azure's spelling of OS. `from_` is `from`."""
    return re.sub(r"([aA])utomaticOs", r"\1utomaticOS", to_camel(name.rstrip("_")))


def cel(rule: str, message: str, *, at: str | None = None) -> dict[str, str]:
    """One validation rule that the API server applies. `message` says what to change, `at` (".a.b") where."""
    return {"rule": rule, "message": message, **({"fieldPath": at} if at else {})}


def new_rule(rule: str, of: str, message: str, *, at: str | None = None) -> dict[str, Any]:
    """A rule for new values only: objects stored before the rule existed may break it. `rule` holds, or the value of
    `of` is unchanged. The API server also validates the whole object when a status is written, so a plain rule would
    block every status of such an object. Needs Kubernetes 1.30 or newer.
    """
    kept = f"{rule} || oldSelf.optMap(old, has(old.{of})).orValue(false)"
    return {**cel(kept, message, at=at), "optionalOldSelf": True}


def immutable(field: str, instead: str) -> dict[str, str]:
    """The rule that a required field of an object keeps its value for ever."""
    message = f"{field} cannot be changed: {instead}, or restore the old value"
    return cel(f"self.{field} == oldSelf.{field}", message, at=f".{field}")


def rules(*validations: Mapping[str, Any]) -> dict[str, Any]:
    """The value of `json_schema_extra` that puts these validation rules into the CRD."""
    return {"x-kubernetes-validations": [dict(validation) for validation in validations]}


def list_map(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by `keys`: unique, and merged item by item by server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}")

OPEN: Final[JSON] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Schema of an object that is validated elsewhere or not at all."""
LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}


def _rfc3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.match(value)):
        return value
    raise ValueError("write a date and time such as 2027-01-31T00:00:00Z")


def _in_utc(value: datetime) -> str:
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat() + "Z"


Int = Annotated[int, Strict()]
"""An integer; neither "20" nor true nor 20.5."""
Bool = Annotated[bool, Strict()]
"""A boolean; neither "true" nor 1."""
Time = Annotated[datetime, BeforeValidator(_rfc3339), PlainSerializer(_in_utc, return_type=str, when_used="json")]
"""A point in time, RFC 3339; written in UTC, whole seconds unless the value has fractions."""


def cut(limit: int) -> BeforeValidator:
    """Shortens a longer string to `limit` characters, so that the API server never refuses a status for its length."""

    def shorten(value: object) -> object:
        if isinstance(value, str) and len(value) > limit:
            return value[: limit - 1] + "…"
        return value

    return BeforeValidator(shorten)


Word = Annotated[str, Field(max_length=512), cut(512)]
"""A name or code in a status, at most 512 characters."""
Ranges = Annotated[str, Field(max_length=8192, pattern=r"^([0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*)?$")]
"""A set of instance ids as ranges, such as "0-3,7"."""
Message = Annotated[str, Field(max_length=2048), cut(2048)]
"""A sentence in a status, at most 2048 characters: a server's message may be long, and a status has to stay small."""
ShortMessage = Annotated[str, Field(max_length=320), cut(320)]
"""A sentence about one of many, at most 320 characters."""


NO_DEFAULTS: Final = "x-no-defaults"
"""Marks a part of a schema that is written without defaults: an absent field stays absent in the stored object."""


def optional(description: str, default: Any = None, **bounds: Any) -> Any:
    """A field that may be absent. `bounds` are those of pydantic's Field."""
    return Field(default=default, description=description, **bounds)


class InvalidSpec(ValueError):  # noqa: N818 - what it is called in conditions and events
    """A custom resource that cannot be carried out. The message names the field, the value found there, and the fix."""


class Model(BaseModel):
    """Base of everything that is read from or written to a custom resource: frozen, camelCase in JSON, unknown fields
    ignored.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=wire_name, validate_by_name=True, validate_by_alias=True, extra="ignore"
    )

    def to_raw(self) -> dict[str, Any]:
        """The JSON form, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


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
"""The conditions of an object, at most one of a type: for `kubectl wait`, `helm --wait` and GitOps tools."""


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


class Spec(Model):
    """Base of the three specs."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """The spec of a custom resource as the API server gave it (the whole object); raises InvalidSpec."""
        spec = raw.get("spec") if isinstance(raw, Mapping) else None
        if not isinstance(spec, Mapping):
            raise InvalidSpec(f"spec: found {describe(spec)}; give the object a spec with its required fields")
        try:
            return cls.model_validate(spec)
        except ValidationError as error:
            raise InvalidSpec(explain(error)) from None


class Status(Model):
    """Base of the three statuses: every field has a default."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """The understood part of `status` in a custom resource (the whole object); never raises. A part that is not
        valid is dropped: an item of a top-level list alone, anything else with its whole top-level field.
        """
        status = raw.get("status") if isinstance(raw, Mapping) else None
        left: dict[str, Any] = dict(status) if isinstance(status, Mapping) else {}
        while left:
            try:
                return cls.model_validate(left)
            except ValidationError as error:
                left = _without(
                    left, [problem["loc"] for problem in error.errors(include_url=False, include_input=False)]
                )
        return cls()


def _without(status: dict[str, Any], paths: list[tuple[int | str, ...]]) -> dict[str, Any]:
    items: dict[str, set[int]] = {}
    fields: set[str] = set()
    for path in paths:
        name = str(path[0]) if path else ""
        if len(path) > 1 and isinstance(path[1], int) and isinstance(status.get(name), list):
            items.setdefault(name, set()).add(path[1])
        else:
            fields.add(name)
    if not (items or fields & status.keys()):
        return {}
    return {
        name: [item for index, item in enumerate(value) if index not in items[name]] if name in items else value
        for name, value in status.items()
        if name not in fields
    }


def describe(value: object) -> str:
    """The value found, in a few words; never the content of an object or list, which may be secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 10**20:
            return "a number that is far too large"
        case int() | float() | timedelta():
            return str(value)
        case str():
            return ascii(value if len(value) <= 60 else value[:59] + "…")
        case Mapping():
            return "an object"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def explain(error: ValidationError) -> str:
    """One sentence a problem: the place, the value found, the value expected."""
    problems = error.errors(include_url=False, include_context=False)
    sentences = []
    for problem in problems[:MAX_PROBLEMS]:
        path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
        if problem["type"] == "missing":
            sentences.append(f"{path}: found nothing; this field is required")
            continue
        wanted = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        sentences.append(f"{path}: found {describe(problem['input'])}; {wanted}")
    more = len(problems) - MAX_PROBLEMS
    return ". ".join(sentences) + (f". And {more} more" if more > 0 else "")
