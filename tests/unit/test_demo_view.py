"""The demo's live view and printed lines, on what was recorded in a run: demo_view/NAME.json shows as NAME.txt."""

import io
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hack.demo import screen
from hack.demo.journal import Entry, Journal, aligned, lines
from hack.demo.story import history_table
from hack.demo.view import ASCII, UNICODE, Picture, render, state
from hack.demo.world import ids

RECORDED = Path(__file__).with_name("demo_view")
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))


def picture(name: str, **changes: Any) -> Picture:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    recorded["now"] = datetime.fromisoformat(recorded["now"])
    recorded["entries"] = [Entry(**entry) for entry in recorded["entries"]]
    recorded["pods"] = {int(number): pod for number, pod in recorded["pods"].items()}
    return Picture(**{"replicas": 10, "allowed_down": 2, **recorded, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_screen_of_80_by_24(name):
    shown = [line.plain.rstrip() for line in render(picture(name), width=80, height=24)]
    assert shown == (RECORDED / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "height"), [(78, 20), (80, 24), (100, 30), (120, 40), (200, 60)])
def test_every_line_fits_and_the_screen_is_full(name, width, height):
    shown = render(picture(name), width=width, height=height)
    assert len(shown) == height
    assert max(line.cell_len for line in shown) <= width


def test_the_log_begins_on_the_same_line_in_every_picture():
    rules = {
        name: [number for number, line in enumerate(render(picture(name), width=80, height=24)) if "──" in line.plain]
        for name in NAMES
    }
    assert {tuple(found) for found in rules.values()} == {(5, 16)}


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_without_unicode_gets_ascii(name):
    assert all(line.plain.isascii() for line in render(picture(name), width=80, height=24, glyphs=ASCII))
    assert UNICODE.arrow not in ASCII.arrow


def test_before_there_is_a_cluster():
    shown = render(Picture(datetime.fromisoformat("2026-01-01T00:00:00Z"), 0, 10, 2, []), width=80, height=24)
    assert "no set yet" in "\n".join(line.plain for line in shown)


def test_more_down_than_allowed_is_red():
    assert [str(line.style) for line in render(picture("rolling", most_down=3), width=80, height=24)][8] == "bold red"
    assert [str(line.style) for line in render(picture("rolling"), width=80, height=24)][8] == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("creating", "creating"), ("rolling", "healthy"), ("restoring", "restoring"), ("faulted", "restored")],
)
def test_state_of_the_first_instance(name, expected):
    assert state(picture(name), 0) == expected


def test_state_of_a_pod_that_goes_or_is_gone():
    recorded = picture("completed")
    recorded.pods[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    del recorded.pods[1]
    assert [state(recorded, number) for number in range(3)] == ["stopping", "missing", "healthy"]


@pytest.mark.parametrize(("ranges", "expected"), [(None, set()), ("", set()), ("4", {4}), ("0-2,7", {0, 1, 2, 7})])
def test_ids(ranges, expected):
    assert ids(ranges) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry("step", 1, "Step 1 of 6: start"), ["Step 1 of 6: start"]),
        (Entry("about", 1, "a b c d e f g"), ["  a b c d e f g"]),
        (Entry("ok", 12.34, "one two three"), ["  12.3 s  ok  one two", "              three"]),
        (Entry("wrong", 1, "two"), ["   1.0 s  WRONG  two"]),
        (Entry("event", 1, "two", "BatchStarted"), ["   1.0 s  BatchStarted         two"]),
        (Entry("blank", 1), [""]),
        (Entry("table", 1, "a   b"), ["  a   b"]),
    ],
)
def test_printed_lines(entry, expected):
    assert lines(entry, 34 if entry.kind == "event" else 22) == expected


def test_journal_says_at_once_and_remembers():
    said: list[Entry] = []
    journal = Journal(said.append)
    journal.table([["A", "LONGER"], ["value", "b"]])
    assert [entry.text for entry in said] == ["A      LONGER", "value  b"]
    assert journal.entries == said


def test_history_as_a_table():
    history = [entry["properties"] for entry in picture("completed").status["osUpgradeHistory"]]
    assert aligned(history_table(history)) == [
        "VERSION  RESULT     BY        SUCCESSFUL  FAILED  PENDING  RESTORED  TOOK",
        "1.2.1    Completed  Platform  10          0       0        0         18 s",
        "1.2.0    Faulted    Platform  0           2       8        2         9 s",
        "1.1.0    Completed  Platform  10          0       0        0         19 s",
    ]


@pytest.mark.parametrize(
    ("environment", "size", "expected"),
    [
        ({"TERM": "xterm"}, (80, 24), True),
        ({"TERM": "xterm", "NO_COLOR": ""}, (80, 24), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (80, 24), False),
        ({"TERM": "xterm", "CI": "true"}, (80, 24), False),
        ({"TERM": "dumb"}, (80, 24), False),
        ({}, (80, 24), False),
        ({"TERM": "xterm"}, (60, 24), False),
        ({"TERM": "xterm"}, (80, 12), False),
    ],
)
def test_live_only_where_it_can_be_seen(environment, size, expected, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 1

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size(size))
    assert screen.wants_live(environment) is expected


def test_no_live_view_in_a_pipe(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert not screen.wants_live({"TERM": "xterm"})
