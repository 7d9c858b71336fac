"""Durations as Azure writes them: ISO 8601, such as PT5M or P1DT12H.

Weeks, days, hours, minutes and seconds, whole numbers only. Years and months are refused since they have no fixed
length.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scaleset.api.base import cel, rules
from scaleset.api.moments import FORM, MAX_LENGTH, PATTERN, format_duration, parse_duration


def _read(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError(FORM)


_WEEKS: Final = "(self.contains('W') ? int(self.find('[0-9]+W').replace('W', '')) * 604800 : 0)"
_DAYS: Final = "(self.contains('D') ? int(self.find('[0-9]+D').replace('D', '')) * 86400 : 0)"
_TIME: Final = "(self.contains('T') ? duration(self.substring(self.indexOf('T') + 1).lowerAscii()).getSeconds() : 0)"
_SECONDS_IN_CEL: Final = f"{_WEEKS} + {_DAYS} + {_TIME}"


@dataclass(frozen=True)
class Iso8601:
    """Annotation of a timedelta that is written as an ISO 8601 duration."""

    def check(self, value: timedelta) -> timedelta:
        """The value, if it is allowed here; raises ValueError with a sentence."""
        return value

    def validations(self) -> list[dict[str, str]]:
        """The same as CEL rules."""
        return []

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.chain_schema(
            [
                core_schema.no_info_plain_validator_function(_read),
                core_schema.no_info_after_validator_function(self.check, handler(source)),
            ],
            serialization=core_schema.plain_serializer_function_ser_schema(format_duration, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        validations = self.validations()
        return {"type": "string", "maxLength": MAX_LENGTH, **(rules(*validations) if validations else {})}


@dataclass(frozen=True)
class Between(Iso8601):
    """The same, within these bounds, themselves in ISO 8601."""

    lower: str
    upper: str

    def check(self, value: timedelta) -> timedelta:
        if not parse_duration(self.lower) <= value <= parse_duration(self.upper):
            raise ValueError(self._message)
        return value

    def validations(self) -> list[dict[str, str]]:
        low, high = (int(parse_duration(bound).total_seconds()) for bound in (self.lower, self.upper))
        form = f"self.matches('^{PATTERN}$')"
        within = f"!{form} || ({_SECONDS_IN_CEL} >= {low} && {_SECONDS_IN_CEL} <= {high})"
        return [cel(form, FORM), cel(within, self._message)]

    @property
    def _message(self) -> str:
        return f"choose a duration from {self.lower} to {self.upper}"


Duration = Annotated[timedelta, Iso8601()]
"""A duration of any length, as a status keeps it."""
