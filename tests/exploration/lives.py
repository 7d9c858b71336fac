"""Lives of simulated sets in which the situations come up that `promises` are about.

Each function plays one life and gives back what came up in it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from tests.exploration.promises import CONDEMNED, Promised
from tests.simulation.scenes import apply_model, cancel, new_model, pin, start
from tests.simulation.world import policy, spec

DOWN = "the current version went down"
AT_REST = 4000.0
"""Seconds after which a small set has come to rest."""


def born(replicas: int, *, by: Any, **changes: Any) -> Promised:
    """A healthy set on 1.0.0."""
    world = Promised(spec=spec(replicas=replicas, **changes), policy=by)
    world.publish("1.0.0")
    world.run(60)
    assert set(world.versions.values()) == {"1.0.0"}
    world.writes.clear()
    world.born.clear()
    return world


# --- versions that change in every way

CHANGES_OF_VERSION = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(["", "", "-bad"])),
    st.tuples(st.just("pin"), st.integers(0, 3)),
    st.tuples(st.just("pin"), st.integers(0, 3)),
    st.tuples(st.just("unpin"), st.none()),
    st.tuples(st.just("apply"), st.sampled_from(["*", "0", "1-2"])),
    st.tuples(st.just("start"), st.none()),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("scale"), st.integers(1, 8)),
    st.tuples(st.just("protect"), st.integers(0, 3)),
)


def changes_its_versions(replicas: int, *, mode: str, script: Iterable[tuple[str, Any]]) -> Counter[str]:
    world = born(replicas, by=policy(mode=mode))
    world.publish("0.9.0")
    published, current = 1, "1.0.0"
    for asked, (what, value) in enumerate(script):
        if what == "publish":
            published += 1
            world.publish(f"{published}.0.0", suffix=value)
        elif what == "pin":
            pin(world, f"{min(value, published)}.0.0" if value else "0.9.0")
        elif what == "unpin":
            pin(world, "latest")
        elif what == "apply":
            apply_model(world, f"{value}{' ' * asked}")
        elif what == "start":
            start(world, str(asked))
        elif what == "cancel":
            world.run(1.5)
            cancel(world, str(asked))
        elif what == "scale":
            world.change(replicas=value)
        else:
            protect(world, value)
        world.run(AT_REST)
        world.shows_what_runs()
        shown = str(world.status["currentVersion"])
        world.came_up[DOWN] += float(shown[:3]) < float(current[:3])
        current = shown
    return world.came_up


def protect(world: Promised, *numbers: int) -> None:
    """Those instances and no others."""
    items = [{"id": number, "protectFromScaleSetActions": True} for number in numbers]
    world.change(protected_instances=spec(protectedInstances=items).protected_instances)


# --- a version that failed

Edit = Callable[[Promised], None]


def rolling(**changes: Any) -> Edit:
    """An edit of `rollingUpgradePolicy`."""

    def edit(world: Promised) -> None:
        assert world.policy is not None
        raw = world.policy.model_dump(mode="json", by_alias=True, exclude_none=True)
        raw["rollingUpgradePolicy"].update(changes)
        world.policy = type(world.policy).model_validate(raw)

    return edit


def of_policy(**changes: Any) -> Edit:
    """An edit of the policy."""

    def edit(world: Promised) -> None:
        assert world.policy is not None
        raw = world.policy.model_dump(mode="json", by_alias=True, exclude_none=True)
        world.policy = type(world.policy).model_validate({**raw, **changes})

    return edit


def _pinned_and_back(world: Promised) -> None:
    pin(world, "1.0.0")
    world.run(AT_REST)
    pin(world, "latest")


def _scaled(world: Promised) -> None:
    world.change(replicas=world.spec.replicas + 1)
    world.run(AT_REST)


def _suspended(world: Promised) -> None:
    world.change(suspend=True)
    world.run(AT_REST)
    world.change(suspend=False)


def _lost(world: Promised) -> None:
    world.loses(0)


def _published_again(world: Promised) -> None:
    """Deleted, and published again as it was."""
    bad = world.catalogue.pop()
    world.run(AT_REST)
    world.catalogue.append(bad)


def _dies(world: Promised) -> None:
    world.dies()


def _broken_and_well(world: Promised) -> None:
    world.sickens(1)
    world.run(AT_REST)
    world.loses(1)


HARMLESS: Mapping[str, Edit] = {
    "a pause": rolling(pauseTimeBetweenBatches="PT1M"),
    "a batch size": rolling(maxBatchInstancePercent=50),
    "the order": rolling(prioritizeUnhealthyInstances=True),
    "surge": rolling(maxSurge=True),
    "the method": of_policy(replacementMethod="InPlaceIfPossible"),
    "a limit of sets": of_policy(maxConcurrentScaleSets=3),
    "a pin and its end": _pinned_and_back,
    "scaling": _scaled,
    "suspending": _suspended,
    "a lost pod": _lost,
    "a broken pod": _broken_and_well,
    "publishing it again": _published_again,
    "a dead operator": _dies,
    "protection": lambda world: protect(world, 2),
}


def _new_health(world: Promised) -> None:
    world.change(health=spec(health={"source": "InstanceState"}).health)


LIFTING: Mapping[str, Edit] = {
    "healthTimeout": of_policy(healthTimeout="PT6M"),
    "minReadyTime": of_policy(minReadyTime="PT7S"),
    "maxUnhealthyInstancePercent": rolling(maxUnhealthyInstancePercent=40),
    "maxUnhealthyUpgradedInstancePercent": rolling(maxUnhealthyUpgradedInstancePercent=40),
    "health": _new_health,
    "the template": lambda world: new_model(world, "7"),
    "a start by hand": lambda world: start(world, "lifts"),
    "a newer version": lambda world: world.publish("3.0.0"),
}


def fails_and_is_left_alone(*, mode: str, harmless: Iterable[str], lifts: str) -> Counter[str]:
    """2.0.0 fails; edits that lift nothing follow, and one that does."""
    world = born(5, by=policy(mode=mode))
    world.publish("2.0.0", suffix="-bad")
    world.run(700)
    assert world.came_up[CONDEMNED] == 1
    assert any(version == "2.0.0" for _, version, _ in world.born)
    for name in harmless:
        world.born.clear()
        HARMLESS[name](world)
        world.run(AT_REST)
        tried = [number for number, version, _ in world.born if version == "2.0.0"]
        assert not tried, f"4.7: {name} brings 2.0.0 to {tried}"
        assert set(world.versions.values()) == {"1.0.0"}
        world.came_up[name] += 1
    LIFTING[lifts](world)
    world.run(60)
    tried_now = {build.version for build in world.state.builds.values()}
    newer = "3.0.0" if lifts == "a newer version" else "2.0.0"
    assert tried_now - {"1.0.0"} == {newer}, f"4.7: {lifts} does not lead to {newer}, but to {tried_now}"
    world.came_up[lifts] += 1
    return world.came_up


# --- scaling in

SIZES = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 12)),
    st.tuples(st.just("scale"), st.integers(0, 4)),
    st.tuples(st.just("let go"), st.integers(0, 11)),
    st.tuples(st.just("let go"), st.integers(0, 11)),
    st.tuples(st.just("protect"), st.integers(0, 11)),
    st.tuples(st.just("die"), st.integers(1, 3)),
)


def shrinks(replicas: int, *, percent: int, most: int | str | None, script: Iterable[tuple[str, int]]) -> Counter[str]:
    """Pods that were told to go stay until they are let go."""
    rules = {} if most is None else {"maxConcurrent": most}
    world = born(replicas, by=policy(rolling={"maxBatchInstancePercent": percent}), scaleInPolicy=rules)
    world.held = set(range(30))
    for what, value in script:
        if what == "scale":
            world.change(replicas=value)
        elif what == "protect":
            protect(world, value)
        elif what == "die":
            world.step(writes=value)
        elif there := [number for number in world.left if number in world.pods]:
            del world.pods[there[value % len(there)]]
        world.run(5)
        assert len(world.left) <= world.batch_of_scaling_in(world.size), f"2: {world.left} are terminating"
    world.held.clear()
    world.run(AT_REST)
    assert len(world.pods) == max(world.spec.replicas, min(1, len(world.protected & world.pods.keys())))
    return world.came_up


# --- a release


def _both(world: Promised) -> None:
    new_model(world)
    world.publish("2.0.0")


def _while_suspended(world: Promised) -> None:
    """One after the other, while nothing may start."""
    world.change(suspend=True)
    world.run(10)
    world.publish("2.0.0")
    world.run(10)
    new_model(world)
    world.run(10)
    world.change(suspend=False)


def _with_a_pin(world: Promised) -> None:
    """Both in one edit of the spec."""
    world.publish("2.0.0", excluded=True)
    world.run(10)
    reference = world.spec.image_reference.model_copy(update={"version": "2.0.0"})
    template = {**world.spec.template, "metadata": {"labels": {"revision": "2"}}}
    world.change(image_reference=reference, template=template)


RELEASES: Mapping[str, Edit] = {
    "at one moment": _both,
    "while suspended": _while_suspended,
    "with a pin": _with_a_pin,
}


def releases(
    *,
    replicas: int,
    mode: str,
    method: str,
    percent: int,
    release: str,
    protected: frozenset[int],
    deaths: Iterable[int],
) -> Counter[str]:
    """An image and a template become due and may roll: by mode Rolling, or since an image takes the model along."""
    mode = "Rolling" if release == "with a pin" else mode
    by = policy(
        mode=mode,
        rolling={"maxBatchInstancePercent": percent, "maxSurge": method == "surge"},
        replacementMethod="InPlaceIfPossible" if method == "in place" else "Recreate",
    )
    world = born(replicas, by=by)
    protect(world, *(number for number in protected if number < replicas))
    world.run(10)
    first = {number: pod.uid for number, pod in world.pods.items()}
    RELEASES[release](world)
    for writes in deaths:
        world.step(writes=writes)
        world.came_up["died"] += world.known is None
        world.run(1.5)
    world.run(AT_REST)
    reached = first.keys() - world.protected
    goal = ("2.0.0", world.model.name)
    assert [(version, model) for _, version, model in world.born] == [goal] * len(reached), f"4.1: {world.born}"
    if method != "surge":
        assert {number for number, _, _ in world.born} == reached
    stayed = {number for number, pod in world.pods.items() if pod.uid in first.values()}
    assert stayed == world.protected, f"4.1: {stayed} were not replaced"
    assert len(world.pods) == replicas
    assert not [write for write in world.writes if write.startswith("change")], "4.1: a template in place"
    world.came_up["replaced"] += len(reached)
    world.came_up[release] += 1
    return world.came_up
