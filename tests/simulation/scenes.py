"""Beginnings that many tests share, and what users do to a set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scaleset.api import names
from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.simulation.outcomes import code
from tests.simulation.world import World, policy, spec

BAD = "-bad"
"""Image suffix of a version that never becomes ready."""


def running(replicas: int = 10, *, by: UpgradePolicySpec | None = None, **changes: Any) -> World:
    """A healthy set on 1.0.0; `changes` are of its spec, in JSON names."""
    single = replicas <= 100
    world = World(
        spec=spec(replicas=replicas, singlePlacementGroup=single, **changes), policy=by if by is not None else policy()
    )
    world.publish("1.0.0")
    world.run(60)
    assert set(world.versions.values()) <= {"1.0.0"}
    assert len(world.pods) == replicas
    world.events.clear()
    world.writes.clear()
    world.plans.clear()
    return world


def under_way(replicas: int = 10, *, suffix: str = "", **changes: Any) -> World:
    """A set in its first batch to 2.0.0."""
    world = running(replicas, **changes)
    world.start = 30.0
    world.publish("2.0.0", suffix=suffix)
    world.run(10)
    assert code(world) == "RollingForward"
    return world


def faulted(by: UpgradePolicySpec | None = None) -> World:
    """A set whose rollout to 2.0.0 failed."""
    world = running(5, by=by)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert code(world) == "Faulted"
    world.writes.clear()
    return world


def born_broken(replicas: int = 5, *, by: UpgradePolicySpec | None = None, **changes: Any) -> World:
    """A set that was created when the only version was a bad one."""
    world = World(spec=spec(replicas=replicas, **changes), policy=by if by is not None else policy())
    world.publish("1.0.0", suffix=BAD)
    world.run(10)
    return world


def ask(world: World, annotation: str, value: str = "now") -> None:
    """The user writes an annotation."""
    world.annotations[annotation] = value


def retry(world: World, value: str = "now") -> None:
    ask(world, names.ANNOTATION_RETRY, value)


def start(world: World, value: str = "now") -> None:
    ask(world, names.ANNOTATION_START, value)


def cancel(world: World, value: str = "now") -> None:
    ask(world, names.ANNOTATION_CANCEL, value)


def apply_model(world: World, value: str) -> None:
    ask(world, names.ANNOTATION_APPLY, value)


def pin(world: World, number: str) -> None:
    """The user sets `imageReference.version`."""
    world.change(image_reference=world.spec.image_reference.model_copy(update={"version": number}))


def new_model(world: World, revision: str = "2", **container: Any) -> None:
    """The user edits the template."""
    template = world.spec.template
    containers = [{**template["spec"]["containers"][0], **container}]
    world.change(
        template={
            "metadata": {"labels": {"revision": revision}},
            "spec": {**template["spec"], "containers": containers},
        }
    )


def two_upgraded(world: World) -> None:
    """The running rollout upgrades the instances 0 and 1, and goes on."""
    world.run(3.5)
    assert len(world.state.rollout.successful) >= 2  # type: ignore[union-attr]


def refused_by_a_quota(message: str) -> World:
    """A quota refuses the new pod of instance 0 with that message, until its rollout to 2.0.0 has failed."""
    world = running(5)
    world.publish("2.0.0")
    world.quota = lambda _: message
    world.run(605)
    assert code(world) == "Faulted"
    return world


def surged_over_a_refusal() -> World:
    """The pod of instance 0 is refused in a rollout that keeps what failed, and in the next one, which surges."""
    world = running(5, by=policy(os={"disableAutomaticRollback": True}))
    world.quota = lambda creation: 'pods "web-0" is forbidden' if creation.instance == 0 else None
    world.publish("2.0.0")
    world.run(700)
    world.policy = policy(rolling={"maxSurge": True})
    world.publish("3.0.0")
    world.run(200)
    return world


def started_with_the_gate_closed(sick: Mapping[int, str]) -> World:
    """A rollout of ten instances to 2.0.0 is started by hand, though Kubernetes says this of `sick` ones."""
    world = running(10, by=policy(automatic=False))
    for number, message in sick.items():
        world.sickens(number)
        world.pods[number] = replace(world.pods[number], message=message)
    world.publish("2.0.0")
    start(world)
    world.run(10)
    return world


def stopped_by_the_gate() -> World:
    """Ten instances, three of which fall ill before a rollout to 2.0.0 reaches them: it ends at the gate."""
    world = running(10)
    world.publish("2.0.0")
    world.run(1.5)
    for number in (7, 8, 9):
        world.sickens(number)
    world.run(10)
    return world
