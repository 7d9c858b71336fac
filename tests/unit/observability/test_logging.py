"""Log lines: one statement, text for people and keys for machines."""

import json
import logging
import sys

import pytest

from scaleset.controllers.scale_set import DECISION
from scaleset.kube.resources import PODS
from scaleset.observability.logging import NOTHING, JsonFormatter

ABOUT = {"namespace": "shop", "scaleset": "web", "reason": "BatchStarted", "message": "Batch 2 of 5."}


def line(text: str, *args: object, name: str = "scaleset.controllers.scale_set", **more: object) -> dict[str, object]:
    """What the formatter makes of a call with those arguments."""
    record = logging.getLogger(name).makeRecord(name, logging.INFO, "", 1, text, args, more.get("exc_info"))  # type: ignore[arg-type] # as a call would give it
    record.created = 1_800_000_000.5
    found: dict[str, object] = json.loads(JsonFormatter().format(record))
    return found


def test_a_decision_has_a_key_for_everything() -> None:
    assert line(DECISION, {**ABOUT, "rollout": "7", "batch": 2}) == {
        "time": "2027-01-15T08:00:00.500+00:00",
        "level": "info",
        "logger": "scaleset.controllers.scale_set",
        "event": "decision",
        "namespace": "shop",
        "scaleset": "web",
        "rollout": "7",
        "batch": 2,
        "reason": "BatchStarted",
        "message": "Batch 2 of 5.",
    }


def test_what_there_is_none_of_is_a_sign_for_people_and_no_key() -> None:
    values = {**ABOUT, "rollout": NOTHING, "batch": NOTHING}
    assert {"rollout", "batch"}.isdisjoint(line(DECISION, values))
    text = DECISION % values
    assert text == 'decision scaleset=shop/web rollout=- batch=- reason=BatchStarted message="Batch 2 of 5."'


def test_without_a_sentence_the_message_is_the_text() -> None:
    found = line(
        'informer_unavailable resource=%(resource)s error="%(error)s"', {"resource": PODS, "error": ValueError("x")}
    )
    assert (found["event"], found["resource"], found["error"]) == ("informer_unavailable", "pods", "x")
    assert found["message"] == 'informer_unavailable resource=pods error="x"'


def test_lines_of_libraries_have_no_event() -> None:
    found = line("Unclosed %s", "connection", name="aiohttp.client")
    assert "event" not in found
    assert found["message"] == "Unclosed connection"


def test_a_line_break_stays_in_its_line() -> None:
    try:
        int("a\nb")
    except ValueError:
        found = line("reconcile_failed", exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in str(found["exception"])


@pytest.mark.parametrize("value", ["\n", '"', "\u202e", "\ud800", "x" * 10_000])
def test_whatever_a_value_is_the_line_is_one_line_of_ascii(value: str) -> None:
    record = logging.makeLogRecord({"name": "scaleset", "msg": "x error=%(error)s", "args": {"error": value}})
    text = JsonFormatter().format(record)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["error"] == value
