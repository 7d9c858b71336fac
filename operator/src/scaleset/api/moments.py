"""Times and durations as text, and back. Needs no models.

Times are Kubernetes' (RFC 3339), durations Azure's (ISO 8601, such as PT5M or P1DT12H): weeks, days, hours, minutes and
seconds, whole numbers only. Years and months are refused since they have no fixed length.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TIME_PART: Final = "[0-9]{1,6}H([0-9]{1,6}M)?([0-9]{1,7}S)?|[0-9]{1,6}M([0-9]{1,7}S)?|[0-9]{1,7}S"
PATTERN: Final = f"P([0-9]{{1,4}}W|[0-9]{{1,5}}D|([0-9]{{1,5}}D)?T({_TIME_PART}))"
MAX_LENGTH: Final = 32
FORM: Final = (
    "write the duration as in ISO 8601 with weeks, days, hours, minutes or seconds, such as PT30S, PT5M or P1DT12H"
)
_COMPILED: Final = re.compile(PATTERN, re.ASCII)
_UNITS: Final = {"W": 604800, "D": 86400, "H": 3600, "M": 60, "S": 1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


def seconds(time: datetime | None) -> float | None:
    """Seconds since the epoch. A time without a zone is in UTC; a time that cannot be formatted again is ignored."""
    if time is None:
        return None
    seconds = ((time if time.tzinfo is not None else time.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
    return seconds if 0 <= seconds <= _LATEST else None


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, whole seconds, as metav1.Time."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str) -> timedelta:
    """The length of an ISO 8601 duration; raises ValueError with a sentence."""
    if len(text) > MAX_LENGTH or not _COMPILED.fullmatch(text):
        raise ValueError(FORM)
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
