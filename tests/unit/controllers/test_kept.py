"""An operator on CRDs that are older than it: whatever field of the status the API server drops, no promise is broken.

Every field of the schema is dropped in turn, through a bad and a good rollout. Where decisions go on from that field
the operator stops before it touches a pod; where not it goes on. With the CRDs of its own version it finishes.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.status_writer import check_kept, compared
from scaleset.kube.errors import NotKept
from scaleset.planner.plan import Plan
from scaleset.records.custom_objects import CustomObject
from tests.cluster.harness.cluster import ROOT
from tests.simulation.outcomes import code
from tests.simulation.watched import Watched
from tests.simulation.world import World, policy, spec, version

CRD = yaml.safe_load((ROOT / "crds" / "scaleset.dev_scalesets.yaml").read_text())
STATUS = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
Path = tuple[str, ...]


def paths(schema: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Every field of a schema, those within lists included."""
    for name, inner in (schema.get("items") or schema).get("properties", {}).items():
        yield (*above, name)
        yield from paths(inner, (*above, name))


def dropped(value: Any, path: Path) -> Any:
    """A copy without that field."""
    if isinstance(value, list):
        return [dropped(each, path) for each in value]
    if not isinstance(value, dict):
        return value
    head, *rest = path
    kept = {key: copy.deepcopy(inner) for key, inner in value.items() if key != head or rest}
    if rest and head in kept:
        kept[head] = dropped(kept[head], tuple(rest))
    return kept


@dataclass
class OldCrd(Watched):
    """A world whose API server does not know one field of the status."""

    unknown: Path = ()
    wanted: str = ""
    unwritten_status: Mapping[str, Any] | None = None

    def step(self, *, writes: int | None = None) -> Plan:
        """As the controller does it: what was not kept is written again before all else."""
        if self.unwritten_status is not None:
            World._write(self, self.unwritten_status)
            self._keep(self.unwritten_status)
            self.unwritten_status = None
        return super().step(writes=writes)

    def _differs(self, status: Mapping[str, Any]) -> bool:
        """What was sent once as it is need not be sent again for the simulation to come to rest."""
        return super()._differs(status) and json.dumps(status) != self.wanted

    def _write(self, status: Mapping[str, Any]) -> None:
        super()._write(status)
        self._keep(status)

    def _keep(self, status: Mapping[str, Any]) -> None:
        if not self.unknown:
            return
        self.status = dropped(self.status, self.unknown)
        try:
            check_kept(self.stored(), compared(ScaleSetStatus, self.status, status)[1])
        except NotKept:
            self.unwritten_status = status
            raise
        self.wanted = json.dumps(status)

    def stored(self) -> CustomObject[Any]:
        return CustomObject(
            namespace="shop",
            name="web",
            uid="uid-web",
            resource_version="1",
            generation=self.generation,
            created=self.now,
            deleting=False,
            annotations={},
            spec=self.spec,
            problem="",
            model=self.model,
            status=self.status,
        )


def settled(world: OldCrd, seconds: float) -> bool:
    """Lets time pass; False when the operator would not go on. Then it tries again and again, and touches no pod."""
    try:
        world.run(seconds)
    except NotKept as refusal:
        named = f"status.{world.unknown[0]}" in refusal.message
    else:
        return True
    assert named, "it does not say what was dropped"
    before = world.pods
    for _ in range(20):
        world.now += 30
        world.happen()
        with pytest.raises(NotKept):
            world.step()
    assert {number: pod.uid for number, pod in world.pods.items()} == {n: pod.uid for n, pod in before.items()}
    return False


@pytest.mark.parametrize("unknown", [path for path in paths(STATUS) if len(path) < 3], ids=".".join)
def test_what_the_api_server_drops_breaks_no_promise(unknown: Path) -> None:
    world = OldCrd(spec=spec(replicas=5), catalogue=[version("1.0.0")], policy=policy(healthTimeout="PT30S"))
    world.run(60)
    before = {number: pod.uid for number, pod in world.pods.items()}
    world.unknown = unknown  # the CRDs are replaced by older ones
    world.status = dropped(world.status, unknown)
    stopped = not settled(world, 60)
    assert {number: pod.uid for number, pod in world.pods.items()} == before, "a restart for nothing"
    for number, image, ends in (("2.0.0", "-bad", "Faulted"), ("3.0.0", "", "Completed")):
        world.publish(number, image=f"example.com/web:{number}{image}")
        if not stopped and settled(world, 600):
            assert code(world) in (ends, ""), "it went on, but not to the end"
            assert {pod.version for pod in world.pods.values()} == {"1.0.0" if image else "3.0.0"}
        else:
            stopped = True
            others = [number for number, pod in world.pods.items() if pod.uid == before[number]]
            assert image == "" or len(others) >= 4, "more than a batch was touched"
    world.unknown, world.wanted = (), ""  # and then by those of this version
    world.run(1200)
    assert code(world) == "Completed"
    assert {pod.version for pod in world.pods.values()} == {"3.0.0"}
