"""Service Fabric node types and Windows: Azure's rules in Azure's words."""

from typing import Any

import pytest

from scaleset.planner.acceptance import NO_HEALTH_SOURCE
from scaleset.planner.ranges import parse
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout
from tests.simulation.scenes import new_model, running, start
from tests.simulation.world import World, policy, spec

BRONZE = (
    "Automatic OS Upgrade is not supported for this ScaleSet because its Service Fabric durability level is "
    "Bronze. Set spec.serviceFabric.durabilityLevel to Silver or Gold, or, for a stateless node type, isStateless to "
    "true."
)
MISMATCH = (
    "Durability Mismatch Detected. ScaleSet durability {} does not match the current node type durability level {}. "
    "Make the two the same."
)
BARE = {"spec": {"containers": [{"name": "app"}]}}


def fabric(level: str = "Silver", node_type: str | None = None, handler: str = "1.1") -> dict[str, str]:
    return {
        "durabilityLevel": level,
        "nodeTypeDurabilityLevel": node_type or level,
        "typeHandlerVersion": handler,
    }


def judged(*, mode: str = "Automatic", automatic: bool = True, **changes: Any) -> dict[str, Any]:
    """The condition Accepted of a set with that spec."""
    world = World(spec=spec(**{"replicas": 5, **changes}), policy=policy(mode=mode, automatic=automatic))
    world.publish("1.0.0")
    world.run(30)
    assert bool(world.pods) is (condition(world, "Accepted")["status"] == "True")
    return condition(world, "Accepted")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"serviceFabric": fabric("Bronze")},
            BRONZE,
        ),
        (
            {"serviceFabric": fabric("Silver", "Bronze")},
            MISMATCH.format("Silver", "Bronze"),
        ),
        (
            {"serviceFabric": fabric("Gold", "Silver")},
            MISMATCH.format("Gold", "Silver"),
        ),
        (
            {"serviceFabric": fabric(handler="1.0")},
            "spec.serviceFabric.typeHandlerVersion is 1.0. Automatic OS Upgrade needs 1.1 or higher.",
        ),
        (
            {"serviceFabric": fabric(handler="0.9")},
            "spec.serviceFabric.typeHandlerVersion is 0.9. Automatic OS Upgrade needs 1.1 or higher.",
        ),
        (
            {"serviceFabric": fabric(), "replicas": 4},
            "Durability Silver needs at least 5 instances; spec.replicas is 4.",
        ),
        (
            {"serviceFabric": fabric("Gold"), "replicas": 0},
            "Durability Gold needs at least 5 instances; spec.replicas is 0.",
        ),
        (
            {"serviceFabric": fabric(), "mode": "Rolling"},
            "Service Fabric sets support upgrade mode Automatic only; the policy's mode is Rolling.",
        ),
        (
            {"serviceFabric": fabric(), "mode": "Manual"},
            "Service Fabric sets support upgrade mode Automatic only; the policy's mode is Manual.",
        ),
    ],
)
def test_what_automatic_upgrades_of_a_service_fabric_set_need(changes, sentence):
    refused = judged(**changes)
    assert (refused["status"], refused["reason"], refused["message"]) == ("False", "InvalidSpec", sentence)


@pytest.mark.parametrize("handler", ["1.1", "1.10", "2.0", "10.0"])
@pytest.mark.parametrize("level", ["Silver", "Gold"])
def test_it_needs_no_health_source_of_its_own(level, handler):
    assert judged(serviceFabric=fabric(level, handler=handler), template=BARE)["status"] == "True"


@pytest.mark.parametrize(
    "changes",
    [
        {"serviceFabric": fabric("Bronze"), "replicas": 1, "mode": "Manual"},
        {"serviceFabric": fabric("Silver", "Gold"), "mode": "Rolling"},
        {"serviceFabric": fabric(handler="1.0")},
    ],
)
def test_without_automatic_upgrades_nothing_of_that_matters(changes):
    assert judged(automatic=False, **changes)["status"] == "True"


def stateless(level: str = "Bronze", **changes: Any) -> dict[str, Any]:
    return {**fabric(level, **changes), "isStateless": True}


PROBE = {"health": {"probe": {"protocol": "tcp", "port": 80}}, "template": BARE}


@pytest.mark.parametrize(
    "source",
    [
        {},
        PROBE,
        {"template": BARE, "health": {"source": "InstanceState"}},
        {"template": BARE, "health": {"source": "PodCondition", "conditionType": "example.com/Healthy"}},
    ],
    ids=["a readiness probe", "a health probe", "the containers", "a condition"],
)
@pytest.mark.parametrize("replicas", [1, 5])
def test_a_stateless_node_type_may_be_bronze_and_needs_a_health_source(source, replicas):
    assert judged(serviceFabric=stateless(), replicas=replicas, **source)["status"] == "True"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"serviceFabric": stateless(), "template": BARE}, NO_HEALTH_SOURCE),
        ({"serviceFabric": stateless("Silver"), "template": BARE}, NO_HEALTH_SOURCE),
        ({"serviceFabric": stateless(node_type="Silver")}, MISMATCH.format("Bronze", "Silver")),
        (
            {"serviceFabric": stateless(handler="1.0")},
            "spec.serviceFabric.typeHandlerVersion is 1.0. Automatic OS Upgrade needs 1.1 or higher.",
        ),
        (
            {"serviceFabric": stateless("Gold"), "replicas": 4},
            "Durability Gold needs at least 5 instances; spec.replicas is 4.",
        ),
        (
            {"serviceFabric": stateless(), "mode": "Rolling"},
            "Service Fabric sets support upgrade mode Automatic only; the policy's mode is Rolling.",
        ),
        ({"serviceFabric": {**fabric("Bronze"), "isStateless": False}}, BRONZE),
    ],
)
def test_what_else_a_stateless_node_type_needs(changes, sentence):
    refused = judged(**changes)
    assert (refused["status"], refused["reason"], refused["message"]) == ("False", "InvalidSpec", sentence)


def walked(world: World) -> list[tuple[int, ...]]:
    """The batches of the last rollout, in order, as the pods were deleted."""
    batches: dict[int, tuple[int, ...]] = {}
    for plan in world.plans:
        batch = (plan.status.get("rollingUpgrade") or {}).get("batch")
        if batch:
            batches[batch["number"]] = tuple(sorted(parse(batch["instances"])))
    return [batches[number] for number in sorted(batches)]


def everything() -> dict[str, int]:
    return {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}


@pytest.mark.parametrize(
    ("replicas", "domains", "batches"),
    [
        (10, 5, [(0, 5), (1, 6), (2, 7), (3, 8), (4, 9)]),
        (7, 5, [(0, 5), (1, 6), (2,), (3,), (4,)]),
        (5, 2, [(0, 2, 4), (1, 3)]),
        (5, 20, [(0,), (1,), (2,), (3,), (4,)]),
        (5, 1, [(0, 1, 2, 3, 4)]),
    ],
)
def test_an_upgrade_walks_update_domain_by_update_domain(replicas, domains, batches):
    """4.8: whatever the batch size allows, no batch holds instances of two update domains."""
    by = policy(mode="Automatic", rolling=everything())
    world = running(replicas, by=by, serviceFabric=fabric(), updateDomains=domains, template=BARE)
    world.publish("2.0.0")
    world.run(120)
    assert code(world) == "Completed"
    assert walked(world) == batches
    assert rollout(world)["batchesDone"] == len(batches)


def test_the_batch_size_still_counts_within_an_update_domain():
    world = running(10, by=policy(mode="Automatic"), serviceFabric=fabric(), updateDomains=2)
    world.publish("2.0.0")
    world.run(120)
    assert walked(world) == [(0, 2), (4, 6), (8,), (1, 3), (5, 7), (9,)]


def test_zones_and_update_domains_together():
    world = running(
        8, by=policy(mode="Automatic", rolling=everything()), serviceFabric=fabric(), updateDomains=2, zones=["a", "b"]
    )
    world.publish("2.0.0")
    world.run(120)
    assert walked(world) == [(0, 4), (2, 6), (1, 5), (3, 7)]


def test_a_start_by_hand_walks_them_too():
    by = policy(automatic=False, rolling=everything())
    world = running(6, by=by, serviceFabric=fabric("Bronze"), updateDomains=3)
    world.publish("2.0.0")
    start(world)
    world.run(60)
    assert walked(world) == [(0, 3), (1, 4), (2, 5)]


def test_a_model_change_reaches_all_at_once_in_mode_automatic():
    world = running(5, by=policy(mode="Automatic"), serviceFabric=fabric())
    new_model(world)
    world.run(30)
    assert {pod.model for pod in world.pods.values()} == {world.model.name}
    assert deleted(world) == [0, 1, 2, 3, 4]
    assert "RolloutStarted" not in reasons(world)


# Windows


WINDOWS = (
    "Automatic OS Upgrade of a Windows image needs spec.osProfile.windowsConfiguration.enableAutomaticUpdates "
    "to be false."
)


def windows(*, updates: bool | None) -> dict[str, Any]:
    return {} if updates is None else {"osProfile": {"windowsConfiguration": {"enableAutomaticUpdates": updates}}}


@pytest.mark.parametrize("updates", [None, False, True])
@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("os_type", ["Windows", "Linux"])
def test_windows_that_updates_itself_is_not_upgraded_automatically(os_type, automatic, updates):
    world = World(spec=spec(replicas=2, **windows(updates=updates)), policy=policy(automatic=automatic))
    world.publish("1.0.0", os_type=os_type)
    world.run(30)
    refused = os_type == "Windows" and automatic and bool(updates)
    accepted = condition(world, "Accepted")
    assert accepted["status"] == ("False" if refused else "True")
    if refused:
        assert (accepted["reason"], accepted["message"]) == ("InvalidSpec", WINDOWS)


def test_switching_it_on_later_stops_upgrades_and_keeps_the_instances():
    world = World(spec=spec(replicas=2, **windows(updates=False)), policy=policy())
    world.publish("1.0.0", os_type="Windows")
    world.run(30)
    assert len(world.pods) == 2
    world.change(os_profile=spec(**windows(updates=True)).os_profile)
    world.publish("2.0.0", os_type="Windows")
    world.run(60)
    assert condition(world, "Accepted")["message"] == WINDOWS
    assert set(world.versions.values()) == {"1.0.0"}
    world.change(os_profile=None)
    world.run(60)
    assert (code(world), counts(world)) == ("Completed", (2, 0, 0, 0))


RUNNING = {"customData": "echo", "runCustomData": True}
SUPPRESSING = {"extensions": [{"name": "agent", "image": "os:1", "command": ["run"], "suppressFailures": True}]}


def on(**pod: Any) -> dict[str, Any]:
    """A template whose pod has these fields."""
    return {"template": {"spec": {**spec().template["spec"], **pod}}}


NO_SHELL = "suppressFailures needs /bin/sh: set it to false for the extension agent."
NO_WINDOWS = "spec.template.spec.os.name is linux: remove that, or set it to windows."
NO_NODE = "spec.template.spec.nodeSelector asks for kubernetes.io/os=linux: remove that, or set it to windows."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (SUPPRESSING, NO_SHELL),
        (on(os={"name": "linux"}), NO_WINDOWS),
        (on(nodeSelector={"kubernetes.io/os": "linux"}), NO_NODE),
    ],
)
@pytest.mark.parametrize("os_type", ["Windows", "Linux"])
def test_what_works_on_linux_only_is_refused_for_a_windows_image(os_type, changes, message):
    world = World(spec=spec(replicas=2, **changes), policy=policy())
    world.publish("1.0.0", os_type=os_type)
    world.run(30)
    accepted = condition(world, "Accepted")
    if os_type == "Linux":
        assert accepted["status"] == "True"
        return
    message = f"Version 1.0.0 is a Windows image, and {message}"
    assert (accepted["status"], accepted["reason"], accepted["message"]) == ("False", "InvalidSpec", message)
    assert not world.pods
    world.change(template=spec().template, extensions=())
    world.run(30)
    assert condition(world, "Accepted")["status"] == "True"
    assert len(world.pods) == 2


def test_custom_data_runs_on_windows_too():
    world = World(spec=spec(replicas=2, **RUNNING), policy=policy())
    world.publish("1.0.0", os_type="Windows")
    world.run(30)
    assert condition(world, "Accepted")["status"] == "True"
    assert len(world.pods) == 2


def test_a_windows_version_of_what_ran_on_linux_leaves_the_instances_as_they_are():
    world = World(spec=spec(replicas=2, **SUPPRESSING), policy=policy())
    world.publish("1.0.0")
    world.run(30)
    before = {number: pod.uid for number, pod in world.pods.items()}
    world.publish("2.0.0", os_type="Windows")
    world.run(60)
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"
    assert {number: pod.uid for number, pod in world.pods.items()} == before
