"""Events: one for each decision, a count for what is said again, and never too many."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from scaleset.kube.client import Client
from scaleset.observability import events
from scaleset.observability.events import BACKLOG, BURST, MAX_NOTE, REFILL_SECONDS, SERIES_SECONDS, EventRecorder
from scaleset.planner.plan import Event
from tests.simulation.scenes import running
from tests.simulation.world import EPOCH, World, spec
from tests.unit.fake_api_server import FakeApi


class Regarding:
    """A ScaleSet."""

    namespace = "shop"
    resource_version = "7"

    def __init__(self, name: str = "web") -> None:
        self.name = name
        self.uid = f"uid-{name}"


class Desk:
    """A recorder, its clock and what it counted."""

    def __init__(self, client: Client) -> None:
        self.now = EPOCH
        self.counted: Counter[tuple[str, str]] = Counter()
        self.recorder = EventRecorder(
            client, instance="vm_1", now=lambda: self.now, on_event=lambda *told: self.counted.update([told])
        )

    def tell(self, message: str, *, reason: str = "BatchStarted", name: str = "web", warning: bool = False) -> None:
        self.recorder.record(Regarding(name), Event(reason, message, warning))

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Inside, events are sent; at the end all of them are."""
        task = asyncio.create_task(self.recorder.run())
        try:
            yield
            await self.recorder.flush(30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def desk(client: Client) -> Desk:
    return Desk(client)


def told(api: FakeApi) -> list[dict[str, Any]]:
    """The events, in the order in which they were made."""
    return sorted(api.objects.values(), key=lambda event: str(event["eventTime"]))


async def test_an_event_says_what_when_and_about_whom(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        desk.tell("Batch 1 of 5: replacing instances 0-1.")
    (event,) = told(api)
    assert event["note"] == "Batch 1 of 5: replacing instances 0-1."
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "BatchStarted", "Reconcile")
    assert event["eventTime"] == "2027-01-15T08:00:00.000000Z"
    assert event["reportingController"] == "scaleset.dev/operator"
    assert {"kind": "ScaleSet", "namespace": "shop", "name": "web", "uid": "uid-web"}.items() <= event[
        "regarding"
    ].items()
    assert "series" not in event
    assert desk.counted == {("Normal", "BatchStarted"): 1}


async def test_names_are_in_the_order_of_time(api: FakeApi, desk: Desk) -> None:
    """kubectl describe shows events in the order of their names, and many come at one moment."""
    async with desk.sending():
        for number in range(20):
            desk.now += number % 3
            desk.tell(f"{number:02}")
    notes = [event["note"] for _, event in sorted(api.objects.items())]
    assert notes == [f"{number:02}" for number in range(20)]


async def test_the_same_sentence_again_is_a_count(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        for _ in range(3):
            desk.tell("The set is suspended.", reason="StartRefused", warning=True)
            await desk.recorder.flush(30)
            desk.now += 60
    (event,) = told(api)
    assert event["series"] == {"count": 3, "lastObservedTime": "2027-01-15T08:02:00.000000Z"}
    assert event["eventTime"] == "2027-01-15T08:00:00.000000Z"
    assert [line.split()[0] for line in api.requests] == ["POST", "PATCH", "PATCH"]
    assert desk.counted == {("Warning", "StartRefused"): 3}


async def test_a_thousand_times_at_once_are_one_write(api: FakeApi, desk: Desk) -> None:
    for _ in range(1000):
        desk.tell("again")
    async with desk.sending():
        pass
    (event,) = told(api)
    assert event["series"]["count"] == 1000
    assert len(api.requests) == 1
    assert desk.counted.total() == 1000


async def test_another_sentence_set_reason_or_type_is_another_event(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        desk.tell("a")
        desk.tell("b")
        desk.tell("a", name="db")
        desk.tell("a", reason="BatchCompleted")
        desk.tell("a", reason="BatchCompleted", warning=True)
    assert len(told(api)) == 5


async def test_after_a_while_it_is_a_new_event(api: FakeApi, desk: Desk) -> None:
    """The API server keeps events for an hour: one that is told by its count must still be there."""
    async with desk.sending():
        desk.tell("a")
        await desk.recorder.flush(30)
        desk.now += SERIES_SECONDS + 1
        desk.tell("a")
    assert len(told(api)) == 2


async def test_one_that_was_deleted_is_told_anew(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        desk.tell("a")
        await desk.recorder.flush(30)
        api.objects.clear()
        desk.tell("a")
    (event,) = told(api)
    assert event["series"]["count"] == 2


async def test_about_one_set_only_so_many_at_once(api: FakeApi, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Other sets are not silenced with it, and after a while it may speak again."""
    async with desk.sending():
        for number in range(BURST + 50):
            desk.tell(f"number {number}")
        desk.tell("quiet", name="db")
        await desk.recorder.flush(30)
        assert len(told(api)) == BURST + 1
        assert "more than 100 different events about shop/web at once" in caplog.text
        desk.now += 10 * REFILL_SECONDS
        for number in range(50):
            desk.tell(f"later {number}")
    assert len(told(api)) == BURST + 1 + 10
    assert desk.counted.total() == BURST + 1 + 10


async def test_the_backlog_has_an_end(api: FakeApi, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(BACKLOG + 10):
        desk.tell("a", name=f"web-{number}")
    assert "the backlog is full" in caplog.text
    assert desk.counted.total() == BACKLOG
    assert len(desk.recorder._recorded) == BACKLOG


async def test_memory_has_an_end(api: FakeApi, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 10)
    for number in range(100):
        desk.tell("a", name=f"web-{number}")
    assert len(desk.recorder._recorded) == len(desk.recorder._allowances) == 10


async def test_a_refusal_costs_that_event_and_no_other(
    api: FakeApi, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    api.refuse("POST", 403, reason="Forbidden")
    async with desk.sending():
        desk.tell("a")
        desk.tell("b")
    assert [event["note"] for event in told(api)] == ["b"]
    assert caplog.text.count("event_dropped") == 1


async def test_a_long_sentence_is_cut(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        desk.tell("x" * 5000)
    (event,) = told(api)
    assert len(event["note"]) == MAX_NOTE
    assert event["note"].endswith("…")


async def test_a_name_stays_within_what_kubernetes_takes(api: FakeApi, desk: Desk) -> None:
    async with desk.sending():
        desk.tell("a", name="w" * 253)
    (event,) = told(api)
    assert len(event["metadata"]["name"]) <= 253


# --- what the planner tells of blocked instances


def blocked_notes(world: World) -> list[str]:
    return [event.message for event in world.events if event.reason == "InstanceBlocked"]


@pytest.mark.parametrize("replicas", [2, 60, 300])
def test_instances_with_the_same_obstacle_share_an_event(replicas: int) -> None:
    """However many they are, and however often it is decided again."""
    world = World(spec=spec(replicas=replicas, singlePlacementGroup=replicas <= 100))
    world.publish("1.0.0")
    world.foreign_pods = {
        n: f"Pod web-{n} exists but does not belong to this ScaleSet. Delete it." for n in range(replicas)
    }
    world.run(60)
    world.generation += 1
    world.run(60)
    said = (
        f"Instances 0-{replicas - 1} are blocked. 0: Pod web-0 exists but does not belong to this ScaleSet. Delete it."
    )
    assert blocked_notes(world) == [said]
    stalled = next(each for each in world.status["conditions"] if each["type"] == "Stalled")
    assert stalled["message"] == said, "the condition says the same"


def test_one_instance_alone_is_told_alone() -> None:
    world = running(10)
    world.loses(3)
    world.foreign_pods = {3: "Pod web-3 exists but does not belong to this ScaleSet. Delete it."}
    world.run(10)
    assert blocked_notes(world) == [
        "Instance 3 is blocked. Pod web-3 exists but does not belong to this ScaleSet. Delete it."
    ]


def test_different_obstacles_are_different_events_but_few() -> None:
    world = World(spec=spec(replicas=20))
    world.publish("1.0.0")
    world.foreign_pods = {number: f"obstacle {chr(97 + number)}." for number in range(20)}
    world.run(10)
    notes = blocked_notes(world)
    assert len(notes) == 5
    assert notes[0] == "Instance 0 is blocked. obstacle a."
    assert notes[-1].startswith("Instances 4-19 are blocked. 4: obstacle e.")


def test_one_that_is_blocked_later_is_told_later() -> None:
    world = running(10)
    text = "Pod web-{} exists but does not belong to this ScaleSet. Delete it."
    world.loses(3)
    world.foreign_pods = {3: text.format(3)}
    world.run(10)
    world.loses(5)
    world.foreign_pods[5] = text.format(5)
    world.run(10)
    assert [note.partition(".")[0] for note in blocked_notes(world)] == [
        "Instance 3 is blocked",
        "Instance 5 is blocked",
    ]


async def test_a_namespace_that_is_deleted_takes_no_events_and_nobody_complains(api, desk, caplog):
    status = {"kind": "Status", "code": 404, "reason": "NotFound", "details": {"kind": "namespaces", "name": "shop"}}
    api.refusals.append(("POST", web.json_response(status, status=404)))
    async with desk.sending():
        desk.tell("Batch 1 of 5.")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
