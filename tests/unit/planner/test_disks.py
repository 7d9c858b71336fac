"""What may change in the claim templates of a set."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import condition, deleted
from tests.simulation.scenes import running
from tests.simulation.world import World, policy, spec

ROLLING = policy(mode="Rolling")


def disk(
    name: str = "data", *, size: Any = "1Gi", metadata: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    requests = {"resources": {"requests": {"storage": size}}}
    return {
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"accessModes": ["ReadWriteOnce"], **requests, **more},
    }


def having(*disks: dict[str, Any]) -> World:
    return running(3, by=ROLLING, volumeClaimTemplates=list(disks or (disk(),)))


def edit(world: World, *disks: dict[str, Any]) -> None:
    world.change(volume_claim_templates=spec(volumeClaimTemplates=list(disks)).volume_claim_templates)
    world.run(120)


@pytest.mark.parametrize(
    "other",
    [
        disk(size="2Gi"),
        disk(accessModes=["ReadWriteMany"]),
        disk(storageClassName="fast"),
        disk(volumeMode="Block"),
        disk(selector={"matchLabels": {"a": "b"}}),
        disk(resources={"requests": {"storage": "1Gi"}, "limits": {"storage": "2Gi"}}),
    ],
)
def test_another_spec_is_refused_and_replaces_nobody(other):
    world = having()
    edit(world, other)
    accepted = condition(world, "Accepted")
    assert accepted["reason"] == "InvalidSpec"
    assert "The spec of claim template data in spec.volumeClaimTemplates cannot be changed" in accepted["message"]
    assert "To grow a disk edit its PersistentVolumeClaim" in accepted["message"]
    assert deleted(world) == []
    assert len(world.models) == 1
    edit(world, disk())
    assert condition(world, "Accepted")["status"] == condition(world, "UpToDate")["status"] == "True"
    assert deleted(world) == []


def test_what_the_api_server_calls_the_same_is_the_same():
    """It knows spellings that nobody else does."""
    world = having()
    first = world.model.name
    world.verdict = lambda _: Verdict(accepted=True, same_as=first)
    edit(world, disk(selector={"matchLabels": {}}))
    assert condition(world, "Accepted")["status"] == "True"
    assert deleted(world) == []


@pytest.mark.parametrize("size", ["1024Mi", "1073741824", 1073741824, "1048576Ki", "1073741824000m"], ids=repr)
def test_another_spelling_of_a_size_is_no_refusal(size):
    """Where nobody says that the models are the same it is carried out as a new one."""
    world = having()
    edit(world, disk(size=size, volumeMode="Filesystem"))
    assert condition(world, "Accepted")["status"] == "True"


@pytest.mark.parametrize("metadata", [{"labels": {"backup": "daily"}}, {"annotations": {"example.com/a": "b"}}])
def test_labels_and_annotations_replace_nobody(metadata):
    world = having()
    edit(world, disk(metadata=metadata))
    assert condition(world, "UpToDate")["status"] == "True"
    assert deleted(world) == []
    assert len(world.models) == 1


def test_the_order_of_templates_replaces_nobody():
    world = having(disk("data"), disk("logs"))
    edit(world, disk("logs", metadata={"labels": {"a": "b"}}), disk("data"))
    assert condition(world, "UpToDate")["status"] == "True"
    assert deleted(world) == []


def test_templates_are_added_and_removed():
    world = having()
    edit(world, disk(), disk("logs", size="5Gi"))
    assert sorted(set(deleted(world))) == [0, 1, 2]
    assert {name for name in world.claims if name.startswith("logs")} == {"logs-web-0", "logs-web-1", "logs-web-2"}
    edit(world, disk("logs", size="5Gi"))
    assert condition(world, "UpToDate")["status"] == "True"
    edit(world, disk("logs", size="6Gi"))
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"


def test_another_change_beside_it_is_refused_as_a_whole():
    world = having()
    world.change(service_name="elsewhere")
    edit(world, disk(size="2Gi"))
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"
    assert deleted(world) == []


def resized_before() -> World:
    """A set whose template was edited under the version before: both models are stored."""
    world = having()
    small = world.model
    world.change(volume_claim_templates=spec(volumeClaimTemplates=[disk(size="2Gi")]).volume_claim_templates)
    big = world.model
    world.models[big.name] = replace(big, number=world.models[small.name].number + 1)
    return world


def test_one_that_was_edited_under_the_version_before_is_carried_on():
    world = resized_before()
    world.run(120)
    assert condition(world, "Accepted")["status"] == condition(world, "UpToDate")["status"] == "True"


def test_it_does_not_go_back_to_the_size_before():
    world = resized_before()
    world.run(120)
    before = len(deleted(world))
    edit(world, disk())
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"
    assert len(deleted(world)) == before
