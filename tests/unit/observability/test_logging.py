"""Log lines: one statement, text for people and keys for machines."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from scaleset.controllers.scale_set import DECISION
from scaleset.kube.resources import PODS
from scaleset.observability.logging import NOTHING, JsonFormatter, configure
from scaleset.runtime import kopf_thread

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


def shown(name: str, text: str, *, thread: str = "MainThread") -> str | None:
    """The line that a record makes, as the handler of the process shows it; None for no line."""
    configure(form="text", level="info")
    handler = logging.getLogger().handlers[0]
    error = ValueError("a\nb")
    record = logging.LogRecord(name, logging.WARNING, "", 1, text, (), (ValueError, error, None))
    record.threadName = thread
    kept = handler.filter(record)
    return handler.format(record).partition(" ")[2] if kept else None


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    names = ("aiohttp", "asyncio", "kubernetes", "kopf", "kopf.objects")
    before = root.handlers, root.level, [logging.getLogger(name).level for name in names]
    yield
    root.handlers, root.level = before[0], before[1]
    for name, level in zip(names, before[2], strict=True):
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("logging_as_it_was")
def test_kopf_says_an_error_in_one_line() -> None:
    assert shown("kopf.reactor", "failed:\n  no") == "WARNING kopf.reactor failed: no"
    assert shown("asyncio", "failed:\n  no", thread=kopf_thread.NAME) == "WARNING asyncio failed: no"
    assert "ValueError: a" in (shown("scaleset.runtime.workers", "failed") or ""), "a stack of ours is wanted"


@pytest.mark.usefixtures("logging_as_it_was")
def test_kopf_is_not_asked_about_signals() -> None:
    """It warns whenever its thread starts; its other warnings are shown."""
    assert shown("kopf._core.reactor.running", "OS signals are ignored: running not in the main thread.") is None
    assert shown("kopf._core.reactor.running", "Cleanup activity is not executed at all.") is not None
    assert shown("scaleset", "OS signals are ignored") is not None
