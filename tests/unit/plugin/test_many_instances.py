"""The views of large sets, on terminals of every width."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest

from kubectl_scaleset import histories, pictures, tables, trees
from kubectl_scaleset.documents import of
from kubectl_scaleset.pictures import InstanceView, SetView
from kubectl_scaleset.verdicts import cause_of, next_step, short, verdict
from kubectl_scaleset.words import ASCII, UNICODE, capped
from tests.unit.plugin.golden import listing, plain, recorded

CRASH = "container os: CrashLoopBackOff: back-off 40s pod=web-{}_shop(e662de00-fe07-472c-87d8-ea3702cff0{:02})"
WIDTHS = (60, 100, 160)


def rolling(size: int) -> tuple[SetView, list[InstanceView]]:
    """A rollout of that many instances by five update domains: every fifth one is upgraded, the next fifth fails."""
    raw = deepcopy(recorded("rolling")["scaleSet"])
    raw["spec"]["replicas"] = size
    step = {part: ",".join(map(str, range(part, size, 5))) for part in range(5)}
    raw["status"]["rollingUpgrade"] |= {
        "successful": step[0],
        "inProgress": step[1],
        "pending": ",".join(step[part] for part in (2, 3, 4)),
        "batch": {"number": 2, "of": 5, "instances": step[1]},
    }
    rows = [
        InstanceView(
            id=number,
            name=f"web-{number}",
            health="Initializing" if number % 5 == 1 else "Healthy",
            version="1.1.0" if number % 5 < 2 else "1.0.0",
            phase="CrashLoopBackOff" if number % 5 == 1 else "Running",
            restarts=3 if number % 5 == 1 else 0,
            message=CRASH.format(number, number % 100) if number % 5 == 1 else "",
        )
        for number in range(size)
    ]
    return SetView(raw), rows


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [60, 200, 1000])
def test_a_rollout_of_many_instances_fits_a_screen(size, width):
    found, rows = rolling(size)
    lines = plain(trees.tree(found, rows, now=0.0, glyphs=UNICODE), width=width).splitlines()
    assert len(lines) <= 16
    assert max(map(len, lines)) <= width
    assert {"NAME", "VERSION", "HEALTH"} <= set(lines[0].split())
    assert any(f"{size // 5} Initializing" in line and "1.1.0" in line for line in lines)
    assert "[os] CrashLoopBackOff" in " ".join(lines)


def test_full_shows_each_of_them():
    found, rows = rolling(60)
    full = plain(trees.tree(found, rows, now=0.0, glyphs=UNICODE, everything=True), width=160)
    assert all(f"web-{number}" in full for number in range(60))


def test_what_fails_in_another_way_stays_apart():
    found, rows = rolling(200)
    odd = replace(rows[6], message="Unschedulable: no node has memory")
    shown = plain(trees.tree(found, [odd if row.id == 6 else row for row in rows], now=0.0, glyphs=UNICODE), width=160)
    assert "39 Initializing" in shown
    assert "web-6 " in shown
    assert "Unschedulable: no node has memory" in shown


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (range(0, 200, 5), "0-195/5 (40)"),
        (range(10), "0-9"),
        ((0, 5, 10), "0,5,10"),
        ((3,), "3"),
        ((*range(0, 50, 5), 51), "0,5,10,15,...,51 (11)"),
    ],
)
def test_every_fifth_instance_is_written_short(ids, text):
    assert trees.strides(list(ids)) == text


@pytest.mark.parametrize(("glyphs", "mark"), [(UNICODE, "…"), (ASCII, "...")])
def test_a_long_name_keeps_its_end(glyphs, mark):
    name = f"{'very-' * 10}long-17"
    cut = capped(name, glyphs, limit=40)
    assert len(cut) == 40
    assert cut.endswith("long-17")
    assert mark in cut
    assert capped("web-17", glyphs, limit=40) == "web-17"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_list_is_wider_than_the_terminal(width):
    lines = listing(width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert "change spec.upgradePolicyRef.name" in " ".join(" ".join(lines).split()) or width > 60
    cut = [line for line in lines if line.endswith("…")]
    whole = listing(width=1000)
    assert all(line.rstrip("…").split()[-1] in whole.split() for line in cut), "words stay whole"


def test_the_bar_of_list_means_the_same_in_every_row():
    """How many instances have what the spec asks for: of a failed upgrade none, of a healthy set all."""
    rows = {line.split()[1]: line.split()[3] for line in listing().splitlines()[1:]}
    assert rows == {"lost": "0/2", "web": "0/10", "wide": "60/60"}
    for name, share in (("rolling", "4/10"), ("suspended", "6/10"), ("healthy", "10/10"), ("faulted", "0/10")):
        found = SetView(recorded(name)["scaleSet"])
        assert share in plain(tables.sets([found], now=0.0, glyphs=UNICODE, namespaces=False)), name


def test_our_own_sentence_says_what_failed_and_what_is_next():
    found = SetView(recorded("faulted")["scaleSet"])
    assert verdict(found) == (
        "2 of 2 upgraded instances failed (limit 20 %): [os] CrashLoopBackOff (last exit code 1). "
        "Restored; 1.2.0 is not tried again by itself."
    )
    assert next_step(found).startswith("publish a newer version; or kubectl scaleset retry web")
    raw = deepcopy(recorded("faulted")["scaleSet"])
    raw["status"]["rollingUpgrade"] |= {"restored": "0", "restoreFailed": "1"}
    assert "1 restored, 1 not; 1.2.0 is not tried again by itself." in verdict(SetView(raw))
    assert next_step(SetView(raw)).startswith("kubectl scaleset rollback web")
    raw["status"]["rollingUpgrade"]["error"] |= {"code": "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"}
    assert verdict(SetView(raw)).startswith(
        "More than 20 % of the instances were unhealthy before the first batch: [os]"
    )
    assert verdict(SetView(recorded("completed")["scaleSet"])) == ""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('container app: ImagePullBackOff: Back-off pulling image "x": ErrImagePull', "[app] ImagePullBackOff"),
        ("container app: Error, exit code 3: out of luck", "[app] Error"),
        ("Unschedulable: 0/3 nodes", "Unschedulable: 0/3 nodes"),
        ("word " * 40, "word " * 23 + "word…"),
    ],
)
def test_a_message_is_shortened_at_a_word(message, words):
    assert short(message) == words


def test_the_most_frequent_cause_is_named():
    assert cause_of([CRASH.format(n, n) for n in range(3)] + ["Unschedulable: x"] * 2) == "[os] CrashLoopBackOff"
    assert cause_of([]) == ""


PAST = {
    "kind": "Model",
    "startedBy": "User",
    "code": "Completed",
    "startTime": "2099-11-29T23:30:00Z",
    "completedTime": "2099-11-29T23:31:00Z",
    "fromVersion": "1.1.0",
    "fromModel": "web-a",
    "toVersion": "1.1.0",
    "toModel": "web-b",
    "progress": {"successfulInstanceCount": 10},
}


def test_history_has_every_kind_with_where_it_came_from():
    raw = deepcopy(recorded("faulted")["scaleSet"])
    began = raw["status"]["osUpgradeHistory"][0]["properties"]["runningStatus"]["startTime"]
    image = {**PAST, "kind": "Image", "startTime": began, "toVersion": "1.2.0", "code": "Faulted"}
    restart = {**PAST, "kind": "Restart", "startTime": "2099-11-29T23:40:00Z", "toVersion": None}
    raw["status"]["rolloutHistory"] = [restart, PAST, image]
    entries = histories.rollouts(SetView(raw))
    assert [(each.kind, each.way("→")) for each in entries] == [
        ("Restart", "1.1.0"),
        ("Model", "web-a → web-b"),
        ("Image", "1.1.0 → 1.2.0"),
        ("Image", "1.1.0"),  # of an older operator, which did not record what ran before
    ]
    shown = of(entries[1])
    assert shown == {
        "kind": "Model",
        "from": "web-a",
        "to": "web-b",
        "by": "User",
        "result": "Completed",
        "startTime": "2099-11-29T23:30:00Z",
        "completedTime": "2099-11-29T23:31:00Z",
        "upgraded": 10,
        "failed": 0,
        "restored": 0,
        "pending": 0,
    }


def test_instances_are_printed_as_kubernetes_writes():
    seen = recorded("healthy")
    rows = pictures.instances(SetView(seen["scaleSet"]), seen["pods"], now=float(seen["now"]))
    document = of(rows[0])
    assert document.keys() >= {
        "id",
        "name",
        "health",
        "version",
        "model",
        "phase",
        "restarts",
        "created",
        "updateDomain",
    }
    assert document["created"].endswith("Z")
    assert "_" not in "".join(document)
    json.dumps(document)
