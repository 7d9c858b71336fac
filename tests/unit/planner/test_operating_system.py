"""The operating system of a version in its pods."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import operating_system, pod_builder
from scaleset.planner.instances import Build
from scaleset.planner.revisions import describe
from tests.simulation.outcomes import changed, code, condition, deleted
from tests.simulation.scenes import BAD, running
from tests.simulation.world import EPOCH, OWNER, World, policy, spec

LABEL = "kubernetes.io/os"
IN_PLACE: dict[str, Any] = {"replacementMethod": "InPlaceIfPossible"}
FOLDER = "/var/lib/scaleset-custom-data"


def pod(system: str | None, *, template: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    if template is not None:
        changes["template"] = {"spec": {**spec().template["spec"], **template}}
    build = Build("web-model", "1.0.0", "example.com/web:1.0.0", os_type=system)
    return pod_builder.pod(OWNER, describe("web", spec(**changes)), build, 0, previous=None, created_at=EPOCH)


def chosen(found: dict[str, Any]) -> tuple[str | None, str | None]:
    """What the pod says of its system, and the nodes that it asks for."""
    spec_ = found["spec"]
    return (spec_.get("os") or {}).get("name"), (spec_.get("nodeSelector") or {}).get(LABEL)


@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_a_pod_says_its_system_and_asks_for_its_nodes(system):
    found = pod(system, location="west", template={"nodeSelector": {"disk": "ssd"}})
    assert chosen(found) == (system.lower(), system.lower())
    assert found["spec"]["nodeSelector"].keys() == {"disk", LABEL, "topology.kubernetes.io/region"}


def test_a_build_of_an_earlier_operator_makes_the_pod_that_it_made():
    found = pod(None)
    assert chosen(found) == (None, None)
    assert "nodeSelector" not in found["spec"]


WINDOWS_OPTIONS = {"windowsOptions": {"runAsUserName": "ContainerUser"}}
CONTAINER = {"name": "app", "securityContext": WINDOWS_OPTIONS}
TERM = {"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["windows"]}]}


@pytest.mark.parametrize(
    "template",
    [
        {"os": {"name": "windows"}},
        {"nodeSelector": {LABEL: "windows"}},
        {"nodeSelector": {"beta.kubernetes.io/os": "windows"}},
        {"runtimeClassName": "windows-2022"},
        {"securityContext": WINDOWS_OPTIONS},
        {"containers": [CONTAINER]},
        {"initContainers": [{"name": "first", "image": "x:1", "securityContext": WINDOWS_OPTIONS}]},
        {
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}
            }
        },
    ],
)
def test_linux_is_not_forced_on_a_template_that_chooses(template):
    """A version without osType is Linux, and Windows sets that chose their nodes themselves follow such versions."""
    plain, found = pod(None, template=template), pod("Linux", template=template)
    assert found == plain
    assert chosen(pod("Windows", template=template)) == ("windows", "windows")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({}, None),
        ({"os": {"name": "windows"}, "nodeSelector": {LABEL: "windows"}}, None),
        ({"os": {"name": "linux"}}, "spec.template.spec.os.name is linux"),
        ({"nodeSelector": {LABEL: "linux"}}, "spec.template.spec.nodeSelector asks for kubernetes.io/os=linux"),
        ({"os": None, "nodeSelector": None}, None),
    ],
)
def test_what_keeps_a_template_from_windows(template, why):
    assert operating_system.conflict(template) == why


DATA: dict[str, Any] = {"customData": "Write-Output hi\n", "runCustomData": True}
AGENT = {"name": "agent", "image": "example.com/agent:1"}


def test_custom_data_has_a_folder_on_windows_and_is_run_by_powershell():
    """Windows mounts no single file of a volume, so no mount has a subPath."""
    found = pod("Windows", extensions=[AGENT], **DATA)["spec"]
    containers = [*found["initContainers"], *found["containers"]]
    assert [each["name"] for each in containers[:2]] == ["custom-data", "extension-agent"]
    mounts = [mount for each in containers for mount in each["volumeMounts"]]
    assert not any("subPath" in mount for mount in mounts)
    assert [each["mountPath"] for each in mounts if each["name"] == "scaleset-custom-data"] == [FOLDER] * 3
    (volume,) = [each for each in found["volumes"] if each["name"] == "scaleset-custom-data"]
    assert [item["path"] for item in volume["downwardAPI"]["items"]] == ["custom-data.ps1"]
    command = found["initContainers"][0]["command"]
    assert command[0] == "powershell.exe"
    assert f"'{FOLDER}/custom-data.ps1'" in command[-1]
    assert "$(" not in command[-1], "the kubelet would expand it"
    assert "$$" not in command[-1], "the kubelet would read it as one $"


@pytest.mark.parametrize("system", [None, "Linux"])
def test_elsewhere_custom_data_is_run_by_the_shell(system):
    (runner,) = pod(system, **DATA)["spec"]["initContainers"]
    assert (runner["command"][0], runner["command"][-1]) == ("/bin/sh", "/var/lib/scaleset/custom-data")


def systems(world: World) -> dict[int, str | None]:
    return {number: each.os_type for number, each in sorted(world.pods.items())}


def forgotten(world: World) -> None:
    """The world as an earlier operator left it: neither builds nor pods say their system."""
    for build in (*world.status["builds"], *world.status.get("previousBuilds", ())):
        build.pop("osType", None)
    world.pods = {number: replace(each, os_type=None) for number, each in world.pods.items()}


@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_what_an_earlier_operator_made_is_not_made_again(system):
    world = World(spec=spec(replicas=3), policy=policy())
    world.publish("1.0.0", os_type=system)
    world.run(30)
    forgotten(world)
    before = {number: each.uid for number, each in world.pods.items()}
    world.generation += 1
    world.run(300)
    assert {number: each.uid for number, each in world.pods.items()} == before
    assert condition(world, "UpToDate")["status"] == "True"
    world.change(replicas=4)
    world.run(60)
    assert systems(world) == {0: None, 1: None, 2: None, 3: system}, "a new instance has the system of its version"
    world.loses(0)
    world.run(60)
    assert systems(world)[0] is None, "a lost one comes back as it was"
    world.publish("2.0.0", os_type=system)
    world.run(120)
    assert code(world) == "Completed"
    assert set(systems(world).values()) == {system}


def test_a_restored_instance_has_the_system_of_its_build_though_its_version_is_gone():
    world = World(spec=spec(replicas=2), policy=policy())
    world.publish("1.0.0", os_type="Windows")
    world.run(30)
    world.publish("2.0.0", suffix=BAD, os_type="Linux")
    world.catalogue = world.catalogue[1:]
    world.run(600)
    assert set(world.versions.values()) == {"1.0.0"}
    assert set(systems(world).values()) == {"Windows"}


def test_an_instance_that_is_born_while_a_version_is_not_proven_has_the_system_of_the_other():
    world = running(10)
    world.publish("2.0.0", os_type="Windows")
    world.run(1)
    world.change(replicas=12)
    world.run(1)
    assert {systems(world)[number] for number in (10, 11) if number in world.pods} == {"Linux"}


def test_no_pod_becomes_one_of_another_system_in_place():
    world = running(2, by=policy(**IN_PLACE))
    world.publish("2.0.0", os_type="Windows")
    world.run(60)
    assert (changed(world), deleted(world)) == ([], [0, 1])
    world.publish("3.0.0", os_type="Windows")
    world.run(60)
    assert changed(world) == [0, 1]
    assert set(systems(world).values()) == {"Windows"}


@pytest.mark.parametrize("forged", ["Plan9", "windows", ""])
def test_a_system_that_nobody_has_is_not_believed(forged):
    """Whoever writes a status can write anything; a pod of such a system would be refused for ever."""
    world = running(2)
    for build in world.status["builds"]:
        build["osType"] = forged
    world.loses(0)
    world.run(30)
    assert systems(world) == {0: None, 1: "Linux"}
