"""The store of custom resources: what kopf tells, what it does not, and what is read again on purpose."""

import asyncio
import copy
import gc
import weakref
from typing import Any

import pytest

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.status_writer import StatusWriter, check_kept, compared
from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.planner.revisions import describe
from scaleset.records.custom_objects import Projection
from scaleset.records.kinds import SCALE_SETS
from tests.cluster.harness.manifests import scale_set
from tests.unit.fake_api_server import FakeApi

Json = dict[str, Any]


def put(api: FakeApi, name: str = "web", *, generation: int = 1, **changes: Any) -> Json:
    """Create or change a ScaleSet; the fake keeps metadata that it does not know."""
    body = api.put("a", name, spec=changes.pop("spec", scale_set(name)["spec"]), **changes)
    stored = api.objects[f"a/{name}"]["metadata"]
    stored["generation"] = body["metadata"]["generation"] = generation
    return body


def scale_sets(client: Client, changed: list[Any]) -> CustomObjects[ScaleSetSpec]:
    return CustomObjects(
        client,
        SCALE_SETS,
        status=ScaleSetStatus,
        projection=Projection(ScaleSetSpec.parse, describe),
        on_change=changed.append,
        namespaces=["a"],
    )


async def one_known(api: Any, client: Any, changed: list[Any] | None = None) -> tuple[Any, Any]:
    """Sets as they were listed, and the only one of them."""
    objects = scale_sets(client, [] if changed is None else changed)
    put(api)
    await objects.list()
    seen = objects.get("a", "web")
    assert seen is not None
    return objects, seen


async def test_a_list_brings_objects_and_takes_away_what_nobody_told_of(api, client):
    changed: list[Any] = []
    objects = scale_sets(client, changed)
    assert objects.get("a", "one") is None
    put(api, "one")
    put(api, "two")
    await objects.list()
    assert objects.synced
    assert sorted(changed) == [("a", "one"), ("a", "two")]
    api.drop("a", "one")
    changed.clear()
    await objects.list()
    assert changed == [("a", "one")]
    assert [each.name for each in objects.all()] == ["two"]
    await objects.list()
    assert changed == [("a", "one")]


async def test_events_add_change_and_delete(api, client):
    changed: list[Any] = []
    objects = scale_sets(client, changed)
    first = put(api)
    objects.seen(None, first)
    objects.seen("ADDED", first)
    assert changed == [("a", "web")]
    second = put(api, generation=2)
    objects.seen("MODIFIED", second)
    objects.seen("MODIFIED", first)
    found = objects.get("a", "web")
    assert found is not None
    assert found.generation == 2
    objects.seen("DELETED", api.drop("a", "web"))
    assert objects.get("a", "web") is None
    objects.seen("MODIFIED", second)
    assert objects.get("a", "web") is None


async def test_a_spec_is_parsed_once_for_a_generation(api, client):
    parsed = 0

    def parse(raw: object) -> ScaleSetSpec:
        nonlocal parsed
        parsed += 1
        return ScaleSetSpec.parse(raw)

    projection = Projection(parse, describe)
    for generation, status in ((1, {}), (1, {"replicas": 1}), (2, {}), (2, {"replicas": 3})):
        projection(put(api, generation=generation, status=status))
    assert parsed == 2
    api.drop("a", "web")
    again = put(api, generation=1)
    projection(again)
    assert parsed == 3


async def test_a_spec_of_before_a_restore_of_etcd_is_parsed_anew(api, client):
    """The generations count on from the backup: the third is another one now."""
    objects = scale_sets(client, [])
    put(api, generation=2)
    for _ in range(10):
        put(api, generation=3, spec=scale_set("web", replicas=30)["spec"])
    await objects.list()
    api.version -= 5
    put(api, generation=3, spec=scale_set("web", replicas=4)["spec"])
    await objects.list()
    found = objects.get("a", "web")
    assert found is not None
    assert found.spec is not None
    assert found.spec.replicas == 4


async def test_what_cannot_be_understood_is_kept_with_the_reason(api, client):
    objects = scale_sets(client, [])
    put(api, spec={"replicas": -1, "\u202e": 3})
    await objects.list()
    found = objects.get("a", "web")
    assert found is not None
    assert found.spec is None
    assert found.model is None
    assert "imageReference" in found.problem


async def test_a_status_is_written_once_and_read_again_when_it_was_outdated(api, client):
    changed: list[Any] = []
    objects, seen = await one_known(api, client, changed)
    writer = StatusWriter(client)
    assert await writer.write(objects, seen, {"replicas": 3}) is True
    written = objects.get("a", "web")
    assert written is not None
    assert written.status == {"replicas": 3}
    sent = len(api.requests)
    assert await writer.write(objects, written, {"replicas": 3}) is True
    assert len(api.requests) == sent
    # `seen` is outdated now: nothing is overwritten, the decision is to be taken again.
    changed.clear()
    api.put("a", "web", status={"replicas": 9})
    assert await writer.write(objects, written, {"replicas": 4}) is False
    newest = objects.get("a", "web")
    assert newest is not None
    assert newest.status == {"replicas": 9}
    assert changed == [("a", "web")]
    api.drop("a", "web")
    assert await writer.write(objects, newest, {"replicas": 4}) is False
    assert objects.get("a", "web") is None


async def test_an_answer_is_believed_before_a_watch_that_tells_the_same_version_by_an_older_schema(api, client):
    """Such a watch goes on for a moment when a CRD is replaced, and may be faster than the answer."""
    objects = scale_sets(client, [])
    put(api)
    await objects.list()
    failed = [{"model": "web-1", "version": "2.0.0"}]

    async def older_schema(request: Any) -> None:
        if request.method == "PATCH":
            told = copy.deepcopy(api.objects["a/web"])
            told["metadata"]["resourceVersion"] = str(api.version + 1)
            objects.seen("MODIFIED", {**told, "status": {}})

    api.before = older_schema
    seen = objects.get("a", "web")
    assert seen is not None
    _, after = compared(ScaleSetStatus, seen.status, {"failedTargets": failed})
    assert await StatusWriter(client).write(objects, seen, after)
    stored = objects.get("a", "web")
    assert stored is not None
    assert stored.resource_version == str(api.version)
    check_kept(stored, after)
    objects.seen("MODIFIED", {**copy.deepcopy(api.objects["a/web"]), "status": {}})
    assert objects.get("a", "web") == stored, "the same version once more is no news"


async def test_an_answer_that_is_older_than_what_is_known_is_not_believed(api, client):
    objects = scale_sets(client, [])
    older = put(api)
    newer = put(api, generation=2)
    objects.seen("MODIFIED", newer)
    objects.remember(older)
    known = objects.get("a", "web")
    assert known is not None
    assert known.generation == 2
    another = copy.deepcopy(newer)
    another["metadata"]["uid"] = "another"
    objects.remember(another)
    assert objects.get("a", "web") == known


async def test_a_conflict_with_an_object_older_than_ours_means_that_etcd_was_restored(api, client, caplog):
    """What we know is from a past that was undone: it is given up, or every write would be a conflict for ever."""
    objects, undone = await one_known(api, client)
    [restored] = api.objects.values()
    restored["metadata"]["resourceVersion"] = "1"
    writer = StatusWriter(client)
    assert await writer.write(objects, undone, {"replicas": 4}) is False
    now = objects.get("a", "web")
    assert now is not None
    assert now.resource_version == "1"
    assert "etcd_restored" in caplog.text
    assert await writer.write(objects, now, {"replicas": 4}) is True


async def test_what_the_api_server_does_not_find_and_yet_shows_is_kept(api, client):
    """A control plane that comes up again may answer so."""
    objects, seen = await one_known(api, client)
    api.refuse("PATCH", 404, reason="NotFound")
    with pytest.raises(errors.NotFound):
        await StatusWriter(client).write(objects, seen, {"replicas": 3})
    assert objects.get("a", "web") == seen
    assert await StatusWriter(client).write(objects, seen, {"replicas": 3}) is True


async def test_a_write_without_an_answer_changes_nothing_here(api, client):
    objects, seen = await one_known(api, client)
    api.refuse("PATCH", 500)
    with pytest.raises(errors.Unavailable):
        await StatusWriter(client).write(objects, seen, {"replicas": 3})
    assert objects.get("a", "web") == seen


# --- what is forgotten


@pytest.mark.parametrize("told", ["an event", "a list", "an answer", "another of its name"])
async def test_a_spec_goes_with_its_object_however_that_is_learned(api, client, told):
    """Or a cluster in which sets come and go fills the memory: kopf does not tell every deletion."""
    objects, found = await one_known(api, client)
    assert found.spec is not None
    spec, last = weakref.ref(found.spec), api.drop("a", "web")
    if told == "an event":
        objects.seen("DELETED", last)
    elif told == "a list":
        await objects.list()
    elif told == "an answer":
        objects.forget(found)
    else:
        objects.seen("ADDED", put(api))
    del found, last
    gc.collect()
    assert spec() is None


# --- looking again on purpose


def listed(api: FakeApi) -> list[str]:
    """The requests, without their queries."""
    found = [request.partition("?")[0].removeprefix("GET /apis/scaleset.dev/v1beta1") for request in api.requests]
    api.requests.clear()
    return found


async def test_of_several_that_want_to_know_at_once_one_asks(api, client):
    objects = scale_sets(client, [])
    put(api)
    await asyncio.gather(*(objects.refresh("a") for _ in range(8)))
    assert listed(api) == ["/namespaces/a/scalesets"]
    await objects.refresh("elsewhere")
    assert listed(api) == [], "it is not ours, and perhaps not allowed"


async def test_a_list_that_is_under_way_is_not_for_those_who_ask_now(api, client):
    """It may show what was before their last write."""
    objects = scale_sets(client, [])
    put(api)
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: Any) -> None:
        if not under_way.is_set():
            under_way.set()
            await go_on.wait()

    api.before = hold
    early = asyncio.create_task(objects.refresh("a"))
    await under_way.wait()
    late = [asyncio.create_task(objects.refresh("a")) for _ in range(8)]
    await asyncio.sleep(0)
    go_on.set()
    await early
    put(api, "web", generation=2)
    await asyncio.gather(*late)
    found = objects.get("a", "web")
    assert found is not None
    assert found.generation == 2
    assert listed(api) == ["/namespaces/a/scalesets"] * 2


async def test_a_list_of_one_namespace_takes_nothing_from_another(api, client):
    objects = CustomObjects(
        client,
        SCALE_SETS,
        status=ScaleSetStatus,
        projection=Projection(ScaleSetSpec.parse, describe),
        on_change=lambda _: None,
    )
    put(api)
    api.put("b", "web", spec=scale_set()["spec"])
    await objects.list()
    api.drop("a", "web")
    api.drop("b", "web")
    await objects.refresh("a")
    assert [each.namespace for each in objects.all()] == ["b"]
    await objects.list()
    assert objects.all() == []


async def test_one_object_is_read_alone(api, client):
    changed: list[Any] = []
    objects = scale_sets(client, changed)
    put(api)
    put(api, "other")
    await objects.look_up("a", "web")
    assert [each.name for each in objects.all()] == ["web"]
    assert changed == [("a", "web")]
    assert listed(api) == ["/namespaces/a/scalesets/web"]
    await objects.look_up("elsewhere", "web")
    assert listed(api) == []


async def test_what_a_read_does_not_find_is_gone_when_a_list_says_so_too(api, client):
    """A control plane that comes up again may err."""
    objects = scale_sets(client, [])
    put(api)
    await objects.list()
    api.refuse("GET", 404, reason="NotFound")
    await objects.look_up("a", "web")
    assert objects.get("a", "web") is not None
    api.drop("a", "web")
    await objects.look_up("a", "web")
    assert objects.get("a", "web") is None


async def test_a_read_that_shows_what_was_said_to_be_gone_is_believed(api, client):
    objects, found = await one_known(api, client)
    objects.forget(found)
    await objects.look_up("a", "web")
    assert objects.get("a", "web") == found


async def test_a_read_that_is_older_than_what_was_known_means_that_etcd_was_restored(api, client, caplog):
    objects = scale_sets(client, [])
    put(api)
    await objects.list()
    [restored] = api.objects.values()
    restored["metadata"]["resourceVersion"] = "1"
    await objects.look_up("a", "web")
    now = objects.get("a", "web")
    assert now is not None
    assert now.resource_version == "1"
    assert "etcd_restored" in caplog.text


async def test_a_list_of_many_comes_in_pages_and_begins_anew_when_its_state_is_forgotten(api, client):
    objects = scale_sets(client, [])
    for number in range(600):
        put(api, f"web-{number}", spec={})
    api.expire_continue = 1
    await objects.list()
    assert len(objects.all()) == 600
    assert len(listed(api)) == 1 + 1 + 3
