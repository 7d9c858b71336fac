"""The plugin's views, on what was recorded in real rollouts: recorded/NAME.json looks like recorded/NAME.txt.

`python -m tests.unit.plugin.record --golden` writes the golden files anew.
"""

from dataclasses import replace

import pytest

from kubectl_scaleset import pictures, tables, trees, words
from kubectl_scaleset.outcomes import outcome
from kubectl_scaleset.pictures import SetView
from kubectl_scaleset.words import ASCII, UNICODE, age
from tests.unit.plugin.golden import golden_files, listing, plain, recorded, scenes, view

GOLDEN = dict(golden_files())


@pytest.mark.parametrize("path", sorted(GOLDEN), ids=lambda path: path.name)
def test_it_looks_as_it_did(path):
    assert GOLDEN[path] == path.read_text()


def test_every_golden_file_is_checked():
    folder = next(iter(GOLDEN)).parent
    assert set(folder.glob("*.txt")) == set(GOLDEN)


@pytest.mark.parametrize("name", scenes())
@pytest.mark.parametrize("width", [60, 80, 160])
def test_ids_versions_and_states_stay_whole(name, width):
    """However narrow the terminal: columns go, and the last one is cut at a word."""
    seen = recorded(name)
    found = SetView(seen["scaleSet"])
    rows = pictures.instances(found, seen["pods"], now=float(seen["now"]))
    table = plain(tables.instances(rows, now=float(seen["now"]), newest=(), glyphs=UNICODE), width=width)
    for row, line in zip(rows, [line for line in table.splitlines()[1:] if line[0].isdigit()], strict=True):
        assert line.split()[0] == str(row.id)
        assert row.health in line.split()
        assert (row.version or "-") in line.split()


@pytest.mark.parametrize("name", scenes())
def test_a_terminal_without_unicode_gets_ascii(name):
    assert view(name, glyphs=ASCII).isascii()
    assert listing(glyphs=ASCII).isascii()


@pytest.mark.parametrize("kind", ["signs", "states", "bar"])
def test_states_can_be_told_apart_without_colours(kind):
    for glyphs in (UNICODE, ASCII):
        signs = list(getattr(glyphs, kind).values())
        assert len(set(signs)) == len(signs)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("starting", None),
        ("healthy", 0),
        ("rolling", None),
        ("suspended", None),
        ("completed", 0),
        ("failing", None),
        ("restoring", None),
        ("faulted", 1),
        ("refused", 1),
    ],
)
def test_exit_code_of_status(name, code):
    assert outcome(SetView(recorded(name)["scaleSet"])).code == code


@pytest.mark.parametrize(
    ("name", "attention"), [("healthy", False), ("rolling", False), ("faulted", True), ("refused", True)]
)
def test_what_needs_attention(name, attention):
    assert SetView(recorded(name)["scaleSet"]).needs_attention is attention


def test_a_set_that_nobody_serves_needs_attention_and_says_so():
    raw = recorded("healthy")["scaleSet"]
    found = SetView({"metadata": raw["metadata"], "spec": raw["spec"]})
    assert found.needs_attention
    assert "No operator" in found.waiting[1]
    assert [row.health for row in pictures.instances(found, [], now=0.0)] == ["Missing"] * 10
    assert "web" in plain(trees.picture(found, [], now=0.0, glyphs=UNICODE))


def test_a_start_that_is_not_handled_yet_is_waited_for():
    raw = recorded("completed")["scaleSet"]
    raw["metadata"]["annotations"] = {"scaleset.dev/start-upgrade-at": "now"}
    assert outcome(SetView(raw)).code is None
    raw["status"]["lastHandledStart"] = "now"
    assert outcome(SetView(raw)).code == 0


def test_a_spec_that_the_operator_has_not_seen_is_waited_for():
    raw = recorded("completed")["scaleSet"]
    raw["metadata"]["generation"] += 1
    assert outcome(SetView(raw)).code is None


def test_a_cancelled_rollout_is_a_failure_that_says_why():
    raw = recorded("completed")["scaleSet"]
    raw["status"]["rollingUpgrade"]["runningStatus"]["code"] = "Cancelled"
    raw["status"]["rollingUpgrade"]["ending"] = {
        "code": "Cancelled",
        "reason": "Cancelled",
        "message": "Cancelled by the user.",
    }
    told = outcome(SetView(raw))
    assert told.code == 1
    assert "Cancelled by the user. Next: publish a newer version; or kubectl scaleset retry web" in told.text


def test_a_forged_status_breaks_no_view():
    raw = recorded("rolling")["scaleSet"]
    raw["status"]["rollingUpgrade"] |= {
        "pending": "x-y",
        "successful": "0-99999999",
        "batch": {"instances": "nonsense"},
    }
    raw["status"]["builds"] = [{"instances": "??"}]
    found = SetView(raw)
    rows = pictures.instances(found, recorded("rolling")["pods"], now=0.0)
    assert len(rows) == 10
    assert "web-9" in plain(trees.picture(found, rows, now=0.0, glyphs=UNICODE))
    assert outcome(found).code is None


def test_pods_of_somebody_else_are_no_instances():
    seen = recorded("healthy")
    stranger = seen["pods"][0]
    stranger["metadata"]["ownerReferences"][0]["uid"] = "another"
    rows = pictures.instances(SetView(seen["scaleSet"]), seen["pods"], now=float(seen["now"]))
    assert rows[0].health == "Missing"


@pytest.mark.parametrize(
    ("counts", "cells"),
    [
        ({"successful": 0, "failed": 0, "inProgress": 0, "pending": 0}, {}),
        ({"successful": 10, "failed": 0, "inProgress": 0, "pending": 0}, {"successful": 10}),
        ({"successful": 999, "failed": 1, "inProgress": 0, "pending": 0}, {"successful": 9, "failed": 1}),
        (
            {"successful": 1, "failed": 1, "inProgress": 1, "pending": 997},
            {"successful": 1, "failed": 1, "inProgress": 1, "pending": 7},
        ),
    ],
)
def test_a_bar_is_as_wide_as_asked_and_shows_whatever_there_is(counts, cells):
    assert {kind: n for kind, n in words._cells(counts, 10).items() if n} == cells


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (7200, "120m"),
        (3 * 3600, "3h"),
        (48 * 3600, "2d"),
    ],
)
def test_ages_are_written_as_kubectl_does(seconds, text):
    assert age(1000.0, 1000.0 + seconds) == text


def test_a_clock_that_is_behind_shows_no_negative_age():
    assert age(1000.0, 990.0) == "0s"


def test_a_big_group_is_one_line_unless_everything_is_asked_for():
    seen = recorded("wide")
    found, now = SetView(seen["scaleSet"]), float(seen["now"])
    rows = pictures.instances(found, seen["pods"], now=now)
    short = plain(trees.tree(found, rows, now=now, glyphs=UNICODE))
    full = plain(trees.tree(found, rows, now=now, glyphs=UNICODE, everything=True))
    assert "0-59" in short
    assert "wide-17" not in short
    assert all(f"wide-{number}" in full for number in range(60))


def test_versions_of_a_group_are_in_the_order_of_their_numbers():
    seen = recorded("wide")
    found, now = SetView(seen["scaleSet"]), float(seen["now"])
    rows = pictures.instances(found, seen["pods"], now=now)
    mixed = [replace(row, version="1.10.0" if row.id % 2 else "1.9.0") for row in rows]
    assert "1.9.0, 1.10.0" in plain(trees.tree(found, mixed, now=now, glyphs=UNICODE))


def test_why_a_pod_has_no_node_is_told_at_once():
    """A set whose zones have no nodes starts for ever; that its pods are not ready yet is no news."""
    seen = recorded("starting")
    found, now = SetView(seen["scaleSet"]), float(seen["now"])
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/10 nodes match"}
    for pod in seen["pods"]:
        pod["spec"].pop("nodeName", None)
        pod["status"] = {"phase": "Pending", "conditions": [waits]}
    rows = pictures.instances(found, seen["pods"], now=now)
    assert {row.message for row in rows if row.phase} == {"Unschedulable: 0/10 nodes match"}


def test_protection_is_shown():
    seen = recorded("healthy")
    seen["scaleSet"]["spec"]["protectedInstances"] = [
        {"id": 1, "protectFromScaleSetActions": True},
        {"id": 2, "protectFromScaleIn": True},
    ]
    rows = pictures.instances(SetView(seen["scaleSet"]), seen["pods"], now=float(seen["now"]))
    assert [row.protection for row in rows[:4]] == ["", "all actions", "scale-in", ""]
    table = plain(tables.instances(rows, now=0.0, newest=(), glyphs=UNICODE), width=200)
    assert "all actions" in table


def test_a_status_writes_nothing_but_text_to_the_terminal():
    raw = recorded("faulted")["scaleSet"]
    raw["status"]["rollingUpgrade"]["error"]["code"] = "ModelRefused"  # Azure's other texts are ours to begin with
    raw["status"]["rollingUpgrade"]["error"]["message"] = "\x1b[2J\x1b]0;owned\x07 all is well \u202e"
    raw["status"]["conditions"][0]["message"] = "\x1b[31mred"
    found = SetView(raw)
    text = outcome(found).text + plain(trees.picture(found, [], now=0.0, glyphs=UNICODE))
    assert "all is well" in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert found.raw is raw  # -o json shows what is there
