"""Who refers to whom is known without a walk over all objects: it is what a walk would find, and an event costs the
same however many sets there are.
"""

import copy
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.controllers.caches import Caches
from scaleset.controllers.lines import rolls
from scaleset.controllers.status_writer import StatusWriter
from scaleset.controllers.upgrade_policy import UpgradePolicyController
from scaleset.controllers.watches import Wakes, watch
from scaleset.planner.snapshot import QueuePosition
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.projections import seconds
from scaleset.records.versions import full, gallery_version, group
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.unit.controllers.woken import World

Json = dict[str, Any]
STATUSES: dict[str, Json] = {
    "": {},
    "rolls": {"rollingUpgrade": {"runningStatus": {"code": "RollingForward"}, "batchesDone": 1}},
    "rolls and waits": {
        "rollingUpgrade": {"runningStatus": {"code": "RollingForward"}, "batch": {"number": 1}},
        "waitingSince": "2026-01-01T00:00:01Z",
    },
    "forged": {"waitingSince": 7, "rollingUpgrade": {"runningStatus": "none"}},
    "forged otherwise": {"waitingSince": "yesterday", "rollingUpgrade": []},
    **{f"since {second}": {"waitingSince": f"2026-01-01T00:00:{second:02}Z"} for second in (1, 2, 3)},
}


# --- what a walk would find


def walked_turn(caches: Caches, seen: ScaleSetObject) -> QueuePosition:
    """By looking at every set: the rule itself."""
    since = _since(seen)
    rolling = ahead = 0
    for other in caches.scale_sets.all():
        same = other.namespace == seen.namespace and _policy(other) == _policy(seen)
        if not same or other.name == seen.name or other.deleting:
            continue
        waits = _since(other)
        if rolls(other.status):
            rolling += 1
        elif waits is not None and (since is None or (waits, other.name) < (since, seen.name)):
            ahead += 1
    return QueuePosition(rolling, ahead)


def _since(seen: ScaleSetObject) -> float | None:
    since = seen.status.get("waitingSince")
    return seconds(since) if isinstance(since, str) else None


def _policy(seen: ScaleSetObject) -> str | None:
    reference = seen.spec.upgrade_policy_ref if seen.spec is not None else None
    return reference.name if reference is not None else None


SETS = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from("ab"),
        "name": st.sampled_from(["one", "two", "three"]),
        "policy": st.sampled_from(["p", "q", None]),
        "offer": st.sampled_from(["os", "db", ""]),
        "gallery": st.sampled_from(["b", None]),
        "status": st.sampled_from(sorted(STATUSES)),
        "deleting": st.booleans(),
        "kind": st.sampled_from(["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]),
    }
)


def set_of(fields: Json) -> Json:
    body = scale_set(fields["name"], policy=fields["policy"])
    image = body["spec"]["imageReference"] = dict(body["spec"]["imageReference"])
    image["offer"] = fields["offer"]  # one without an offer cannot be understood
    if fields["gallery"]:
        image["galleryNamespace"] = fields["gallery"]
    return body


@given(st.lists(SETS, max_size=14))
def test_turns_users_and_followers_are_what_a_walk_would_find(steps: list[Json]):
    world = World()
    for namespace in "ab":
        for name in "pq":
            world.tell(upgrade_policy(name, maxConcurrentScaleSets=1), namespace=namespace)
    for step in steps:
        how = {key: step[key] for key in ("namespace", "deleting", "kind")}
        world.tell(set_of(step), **how, **STATUSES[step["status"]])
        check(world)


def check(world: World) -> None:
    sets, found = world.caches.scale_sets.all(), world.caches.relations
    for seen in sets:
        if _policy(seen) is not None:
            assert world.turns.turn(seen) == walked_turn(world.caches, seen), seen.name
    for namespace in "ab":
        for name in "pq":
            users = {each.name for each in sets if each.namespace == namespace and _policy(each) == name}
            assert {each.name for each in found.users.of((namespace, name))} == users
        for offer in ("os", "db"):
            mine = {
                (each.namespace, each.name)
                for each in sets
                if each.spec is not None
                and each.spec.image_reference.offer == offer
                and (each.spec.image_reference.gallery_namespace or each.namespace) == namespace
            }
            assert set(found.followers.members((namespace, f"example/{offer}"))) == mine


def test_a_catalogue_is_what_the_versions_say_now():
    world, chance = World(), random.Random(7)
    for _ in range(200):
        profile = {"replicationMode": chance.choice(["Full", "Shallow"]), "excludeFromLatest": chance.random() < 0.5}
        body = image_version(f"1.0.{chance.randrange(5)}", publishingProfile=profile)
        how: Json = {"deleting": chance.random() < 0.2, "kind": chance.choice(["MODIFIED", "MODIFIED", "DELETED"])}
        regions = [{"region": "west", "state": chance.choice(["Completed", "Failed"]), "progress": 1}]
        world.tell(body, **how, replicationStatus={"mode": "Full", "aggregatedState": "Unknown", "summary": regions})
        there = world.caches.versions.of(("a", "example/os"))
        for _ in range(2):
            found = world.caches.relations.catalogue.of(there)
            assert list(found) == [gallery_version(each) for each in there if not each.deleting]


def test_a_version_is_understood_once():
    world = World()
    world.tell(image_version("1.0.0"))
    there = world.caches.versions.all()
    (first,), (second,) = (world.caches.relations.catalogue.of(there) for _ in range(2))
    assert first is second


def test_versions_are_found_by_uid_and_those_that_are_pulled_by_group():
    world, chance = World(), random.Random(5)
    for _ in range(200):
        profile = {"replicationMode": chance.choice(["Full", "Shallow"])}
        offer = chance.choice(["os", "db"])
        body = image_version(f"1.0.{chance.randrange(5)}", offer=offer, publishingProfile=profile)
        world.tell(body, kind=chance.choice(["MODIFIED", "MODIFIED", "DELETED"]))
        there = world.caches.versions.all()
        world.woken.clear()
        world.wakes.nodes(3)
        assert {key for _, key in world.woken} == {group(each) for each in there if full(each)}
        for each in there:
            world.woken.clear()
            world.wakes.prepull(each.uid)
            assert world.woken == [("version", group(each))]
        world.woken.clear()
        world.wakes.prepull("nobody's")
        assert world.woken == [("version", ("", "prepulls"))]


def test_the_more_nodes_and_versions_there_are_the_longer_a_look_waits_for_more_of_them():
    """Each version that is replicated looks at all nodes: 10 ms of 5,000."""
    waits: list[float] = []
    wakes = Wakes(
        scale_sets=nobody,
        instances=nobody,
        versions=nobody,
        replications=lambda _, rest: waits.append(rest),
        policies=nobody,
    )
    world = World(wakes)
    for number in range(10):
        profile = {"replicationMode": "Full"}
        world.tell(image_version("1.0.0", sku=f"sku-{number}", offer=f"offer-{number}", publishingProfile=profile))
    wakes.nodes(5)
    assert max(waits) < 0.01
    wakes.nodes(5000)
    assert waits[-1] == pytest.approx(1.0)


def nobody(*_: object) -> None:
    pass


# --- what an event costs


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of the operator are executed: a walk over all objects shows in it, whatever it does at each."""
    count = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal count
        if "/scaleset/" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


class Crowd(World):
    """So many sets, each with a policy and an image of its own, of which none but two have to do with what happens."""

    def __init__(self, number: int) -> None:
        super().__init__()
        for each in range(number):
            name = f"set-{each:04}"
            self.tell(upgrade_policy(f"policy-{each:04}", maxConcurrentScaleSets=1))
            body = scale_set(name, policy=f"policy-{each:04}")
            body["spec"]["imageReference"] = {**body["spec"]["imageReference"], "offer": f"offer-{each:04}"}
            self.tell(body, **STATUSES["since 1"])
            self.tell(image_version("1.0.0", sku=f"sku-{each:04}", offer=f"offer-{each:04}"))
        self.tell(upgrade_policy("mine", maxConcurrentScaleSets=1))
        for name, status in (("web", "rolls"), ("waiting", "since 2")):
            self.tell(scale_set(name, policy="mine"), **STATUSES[status])
        self.tell(image_version("1.0.0", publishingProfile={"replicationMode": "Full"}))

    def see(self, body: Json, **how: Any) -> Callable[[], object]:
        """An event that is delivered when it is asked for."""
        return lambda: self.tell(body, **how)


EVENTS: dict[str, Callable[[Crowd], Callable[[], object]]] = {
    "a status": lambda w: w.see(scale_set(policy="mine"), **STATUSES["rolls"]),
    "a failure": lambda w: w.see(scale_set(policy="mine"), failedTargets=[{"version": "1.0.0", "reason": "Breach"}]),
    "a rollout that ends": lambda w: w.see(scale_set(policy="mine")),
    "a set that is gone": lambda w: w.see(scale_set(policy="mine"), kind="DELETED"),
    "a set with another policy": lambda w: w.see(scale_set(policy="policy-0003")),
    "a policy": lambda w: w.see(upgrade_policy("mine", maxConcurrentScaleSets=2)),
    "a version": lambda w: w.see(image_version("1.1.0")),
    "a node": lambda w: lambda: w.wakes.nodes(3),
    "a pod that pulls": lambda w: lambda: w.wakes.prepull("nobody's"),
    "whose turn it is": lambda w: lambda: w.turns.turn(seen(w, "waiting")),
    "who is next": lambda w: lambda: w.wakes.line(("a", "mine")),
}


def seen(world: World, name: str) -> ScaleSetObject:
    found = world.caches.scale_sets.get("a", name)
    assert found is not None
    return found


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_costs_the_same_however_many_sets_there_are(event):
    few, many = (lines_run(EVENTS[event](Crowd(number))) for number in (5, 200))
    assert few > 0
    assert many - few <= 10, f"{few} lines with 5 sets, {many} with 200"


async def test_a_policy_counts_its_sets_at_the_same_cost():
    class Writer:
        async def write(self, _: object, __: object, wanted: Json) -> bool:
            written.append(wanted["scaleSets"])
            return True

    costs, written = [], list[int]()
    for number in (5, 200):
        world = Crowd(number)
        work = UpgradePolicyController(world.caches, Writer(), now=lambda: 0.0).reconcile(("a", "mine"))  # type: ignore[arg-type]
        costs.append(lines_run(lambda work=work: drive(work)))  # type: ignore[misc]
    assert costs[0] == costs[1]
    assert written == [2, 2]


def drive(work: Any) -> None:
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        work.send(None)


@pytest.mark.parametrize("waiting", [5, 200])
def test_a_long_line_costs_no_more_than_its_front(waiting):
    world = World()
    world.tell(upgrade_policy("mine", maxConcurrentScaleSets=1))
    world.tell(scale_set("web", policy="mine"), **STATUSES["rolls"])
    for number in range(waiting):
        world.tell(scale_set(f"waits-{number:03}", policy="mine"), **STATUSES["since 2"])
    assert lines_run(lambda: world.turns.turn(seen(world, "waits-004"))) <= 60
    woken = world.tell(scale_set("web", policy="mine"))
    assert len(woken) <= 21


# --- a policy counts its sets


def test_a_set_that_refers_to_another_policy_wakes_both():
    """The one that it leaves counts one less."""
    world = World()
    for name in ("old", "new"):
        world.tell(upgrade_policy(name))
    world.tell(scale_set(policy="old"))
    woken = world.tell(scale_set(policy="new"))
    assert woken == {("set", ("a", "web")), ("policy", ("a", "old")), ("policy", ("a", "new"))}
    users = world.caches.relations.users
    assert (users.number(("a", "old")), users.number(("a", "new"))) == (0, 1)
    assert world.tell(scale_set(policy=None)) == {("set", ("a", "web")), ("policy", ("a", "new"))}


def test_a_set_whose_spec_breaks_is_no_user_any_more():
    world = World()
    world.tell(scale_set(policy="old"))
    broken = copy.deepcopy(scale_set(policy="old"))
    broken["spec"]["imageReference"] = {}
    assert world.tell(broken) == {("set", ("a", "web")), ("policy", ("a", "old"))}


def test_a_status_wakes_no_policy():
    world = World()
    world.tell(scale_set(policy="mine"))
    assert world.tell(scale_set(policy="mine"), **STATUSES["rolls"]) == {("set", ("a", "web"))}


async def test_the_policy_that_a_set_leaves_says_so(api, client):
    """By the objects: the status of both policies, as the controller writes it."""
    woken: list[Any] = []
    wakes = Wakes(
        scale_sets=lambda _: None,
        instances=lambda *_: None,
        versions=lambda _: None,
        replications=lambda *_: None,
        policies=woken.append,
    )
    caches = watch(client, wakes, namespaces=["a"])
    for name in ("old", "new"):
        api.put("a", name, spec=upgrade_policy(name)["spec"])
    await caches.policies.list()
    policies = dict(api.objects)
    controller = UpgradePolicyController(caches, StatusWriter(client), now=lambda: 0.0)

    async def settle(*expected: int) -> None:
        for key in [*dict.fromkeys(woken)]:
            await controller.reconcile(key)
        woken.clear()
        found = [caches.policies.get("a", name) for name in ("old", "new")]
        assert [each.status["scaleSets"] for each in found if each is not None] == list(expected)

    for version, policy in ((1000, "old"), (2000, "new")):
        body = scale_set(policy=policy)
        place = {"namespace": "a", "uid": "u", "resourceVersion": str(version), "generation": version}
        caches.scale_sets.seen("MODIFIED", {**body, "metadata": {**body["metadata"], **place}})
        await settle(*((1, 0) if policy == "old" else (0, 1)))
    assert policies.keys() == api.objects.keys()
