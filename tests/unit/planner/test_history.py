"""`status.osUpgradeHistory`, as `az vmss get-os-upgrade-history` shows it."""

from scaleset.api.moments import timestamp
from scaleset.planner.status_codec import attempt, prune
from tests.simulation.scenes import BAD, running, start
from tests.simulation.world import EPOCH, World, policy

DAY = 86400.0


def attempts(world: World) -> list[str]:
    return [e["properties"]["targetImageReference"]["version"] for e in world.status["osUpgradeHistory"]]


def test_an_entry_has_exactly_azures_keys():
    """UpgradeOperationHistoricalStatusInfo of the Azure API, nothing more and nothing less."""
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    (entry,) = world.status["osUpgradeHistory"]
    assert sorted(entry) == ["location", "properties", "type"]
    assert entry["type"] == "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"
    assert entry["location"] == "default"
    properties = entry["properties"]
    assert sorted(properties) == [
        "error",
        "progress",
        "rollbackInfo",
        "runningStatus",
        "startedBy",
        "targetImageReference",
    ]
    assert sorted(properties["runningStatus"]) == ["code", "completedTime", "startTime"]
    assert sorted(properties["progress"]) == [
        "failedInstanceCount",
        "inProgressInstanceCount",
        "pendingInstanceCount",
        "successfulInstanceCount",
    ]
    assert sorted(properties["error"]) == ["code", "details", "message", "target"]
    assert sorted(properties["error"]["details"][0]) == ["code", "message", "target"]
    assert sorted(properties["targetImageReference"]) == ["offer", "publisher", "sku", "version"]
    assert sorted(properties["rollbackInfo"]) == [
        "failedRolledbackInstanceCount",
        "successfullyRolledbackInstanceCount",
    ]
    assert properties["startedBy"] == "Platform"


def test_the_location_is_the_sets():
    world = running(2, location="westeurope")
    world.publish("2.0.0")
    world.run(60)
    assert world.status["osUpgradeHistory"][0]["location"] == "westeurope"


def test_the_running_one_is_in_the_list_and_has_no_end():
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    status = world.status["osUpgradeHistory"][0]["properties"]["runningStatus"]
    assert sorted(status) == ["code", "startTime"]
    assert status["code"] == "RollingForward"
    assert sorted(world.status["osUpgradeHistory"][0]) == ["location", "properties", "type"]
    world.run(500)
    assert len(world.status["osUpgradeHistory"]) == 1
    assert world.status["osUpgradeHistory"][0]["properties"]["runningStatus"]["code"] == "Completed"


def test_five_are_kept_newest_first():
    """The running one is one of the five."""
    world = running(2)
    for number in range(2, 9):
        world.publish(f"{number}.0.0")
        world.run(30)
    assert attempts(world) == ["8.0.0", "7.0.0", "6.0.0", "5.0.0", "4.0.0"]
    world.start = 60.0
    world.publish("9.0.0")
    world.run(5)
    assert attempts(world) == ["9.0.0", "8.0.0", "7.0.0", "6.0.0", "5.0.0"]


def test_two_months_are_kept_whether_or_not_anything_is_added():
    world = running(2)
    world.publish("2.0.0")
    world.run(60)
    world.now += 30 * DAY
    world.publish("3.0.0")
    world.run(60)
    assert attempts(world) == ["3.0.0", "2.0.0"]
    world.now += 32 * DAY
    world.step()
    assert attempts(world) == ["3.0.0"]


def test_a_model_rollout_is_no_image_upgrade():
    world = running(2, by=policy(mode="Rolling"))
    world.change(service_name="web")
    world.run(60)
    assert world.state.rollout is not None
    assert world.status["osUpgradeHistory"] == []


def test_a_start_by_hand_says_who():
    world = running(2, by=policy(automatic=False))
    world.publish("2.0.0")
    start(world)
    world.run(60)
    assert world.status["osUpgradeHistory"][0]["properties"]["startedBy"] == "User"


def test_times_are_whole_seconds_in_utc():
    assert timestamp(EPOCH + 0.999) == "2027-01-15T08:00:00Z"


def test_what_is_restored_counts_as_failed_only():
    """One instance, one count: not in progress and failed at the same time."""
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0", suffix=BAD)
    world.run(302)
    rollout = world.state.rollout
    assert rollout is not None
    assert rollout.restoring == {0}
    progress = attempt(rollout, location="x")["properties"]["progress"]
    assert (progress["failedInstanceCount"], progress["inProgressInstanceCount"]) == (1, 0)


def test_an_entry_without_a_start_is_dropped():
    """Somebody wrote it by hand."""
    world = running(2)
    world.publish("2.0.0")
    world.run(60)
    assert world.state.rollout is not None
    entry = attempt(world.state.rollout, location="x")
    del entry["properties"]["runningStatus"]["startTime"]
    assert prune([entry], now=world.now) == ()
