"""Durations as Azure writes them: ISO 8601, such as PT5M or P1DT12H.

Weeks, days, hours, minutes and seconds, whole numbers only. Years and months are refused since they have no fixed
length.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scaleset.api.base import cel, rules

_TIME_PART: Final = "[0-9]{1,6}H([0-9]{1,6}M)?([0-9]{1,7}S)?|[0-9]{1,6}M([0-9]{1,7}S)?|[0-9]{1,7}S"
PATTERN: Final = f"P([0-9]{{1,4}}W|[0-9]{{1,5}}D|([0-9]{{1,5}}D)?T({_TIME_PART}))"
MAX_LENGTH: Final = 32
_FORM: Final = (
    "write the duration as in ISO 8601 with weeks, days, hours, minutes or seconds, such as PT30S, PT5M or P1DT12H"
)
_COMPILED: Final = re.compile(PATTERN, re.ASCII)
_UNITS: Final = {"W": 604800, "D": 86400, "H": 3600, "M": 60, "S": 1}


def parse_duration(text: str) -> timedelta:
    """The length of an ISO 8601 duration; raises ValueError with a sentence."""
    if len(text) > MAX_LENGTH or not _COMPILED.fullmatch(text):
        raise ValueError(_FORM)
    return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([WDHMS])", text)))


def format_duration(length: timedelta) -> str:
    """The shortest ISO 8601 form, in days, hours, minutes and seconds; fractions of a second are cut off."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    time = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if number)
    date = f"{days}D" if days else ""
    if not date and not time:
        return "PT0S"
    return "P" + date + (f"T{time}" if time else "")


def _read(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError(_FORM)


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
        return [cel(form, _FORM), cel(within, self._message)]

    @property
    def _message(self) -> str:
        return f"choose a duration from {self.lower} to {self.upper}"


Duration = Annotated[timedelta, Iso8601()]
"""A duration of any length, as a status keeps it."""
