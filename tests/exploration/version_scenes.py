"""What becomes of a version: good, bad, broken late, and the ways in which it reaches the instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scaleset.planner.snapshot import Verdict
from tests.exploration.course import Course
from tests.exploration.stage import BAD, HOUR, MINUTE, START, born, publish, scene
from tests.simulation.scenes import start
from tests.simulation.world import World, policy, spec

SURGE: dict[str, Any] = {"maxSurge": True}
FABRIC = {"durabilityLevel": "Silver", "nodeTypeDurabilityLevel": "Silver", "typeHandlerVersion": "1.1"}


@scene
def good() -> Course:
    """A good version goes over ten instances, two at a time. Each batch is healthy before the next one begins, and the
    version counts as current once all are on it.
    """
    course = born()
    publish(course, "2.0.0")
    course.run(HOUR)
    return course


@scene
def bad() -> Course:
    """A version whose pods never become ready touches one batch. It gets its build back, the version is not tried
    again, and the next version needs nobody's help.
    """
    course = born()
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(HOUR)
    publish(course, "2.0.1", ", which is good")
    course.run(HOUR)
    return course


@scene
def bad_by_hand() -> Course:
    """The same version in a set without automatic upgrades. Who starts a rollout by hand keeps what failed, and the
    next start by hand repairs it.
    """
    course = born(by=policy(automatic=False))
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(MINUTE)
    start(course, "1")
    course.note("start-upgrade-at is set")
    course.run(HOUR)
    publish(course, "2.0.1", ", which is good")
    start(course, "2")
    course.note("start-upgrade-at is set")
    course.run(HOUR)
    return course


@scene
def one_bad_node() -> Course:
    """Instance 4 lives on a node where 2.0.0 does not start. One of six is within the limits: the rollout completes
    without it, and comes back for it until the node is repaired. Then the nine that run 2.0.0 count beside it.
    """
    course = born()
    repaired: list[bool] = []
    course.fails = lambda number, pod: number == 4 and pod.version == "2.0.0" and not repaired
    publish(course, "2.0.0")
    course.run(25 * MINUTE)
    repaired.append(True)
    course.note("the node is repaired")
    course.run(HOUR)
    return course


@scene
def breaks_late() -> Course:
    """Pods of 2.0.0 become ready and lose it five seconds later, when the next batch is under way. What was upgraded
    before is taken back, too.
    """
    course = born()
    publish(course, "2.0.0", ", whose pods break five seconds after they were ready", suffix="-late")
    course.run(HOUR)
    return course


@scene
def outage() -> Course:
    """In the pause after the second batch everything falls ill, whatever it runs. That is not the version's fault:
    nothing is taken back, and it is tried again once the set is well.
    """
    course = born(by=policy(rolling={"pauseTimeBetweenBatches": "PT2M"}))
    publish(course, "2.0.0")
    course.run(3 * MINUTE)
    for number in range(10):
        course.breaks(number)
    course.note("a database is down, and no instance is ready any more")
    course.run(15 * MINUTE)
    for number in range(10):
        course.heals(number)
    course.note("the database is back")
    course.run(HOUR)
    return course


@scene
def born_broken() -> Course:
    """A new set whose only version is bad has nothing to protect yet. A good version repairs it without a rollout, and
    what comes after that is a rollout.
    """
    course = Course(spec=spec(replicas=5), policy=policy(), start=START)
    course.begins()
    publish(course, "1.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(10 * MINUTE)
    publish(course, "1.0.1", ", which is good")
    course.run(10 * MINUTE)
    publish(course, "1.1.0")
    course.run(HOUR)
    return course


@scene
def surge() -> Course:
    """With maxSurge new instances are created beside the old ones, which go once the new ones are healthy: there are
    never fewer than ten that are.
    """
    course = born(by=policy(rolling=SURGE))
    publish(course, "2.0.0")
    course.run(HOUR)
    return course


@scene
def surge_bad() -> Course:
    """With maxSurge a bad version takes no instance away: the new ones are removed, the old ones still run."""
    course = born(by=policy(rolling=SURGE))
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(HOUR)
    return course


@scene
def surge_quota() -> Course:
    """A quota of ten pods has no room for instances beside the old ones: a batch is upgraded without surge, until the
    quota is raised in the middle of the rollout.
    """
    course = born(by=policy(rolling=SURGE))
    text = 'pods "web-10" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=10, limited: pods=10'
    refused = Verdict(accepted=False, message=text, quota=True)
    course.admit = lambda instance: refused if instance >= 10 else Verdict(accepted=True)
    publish(course, "2.0.0")
    course.run(50)
    course.admit = lambda _: Verdict(accepted=True)
    course.note("the quota is raised to twenty pods")
    course.run(HOUR)
    return course


@scene
def surge_without_node() -> Course:
    """No node has room for new instances beside the old ones. After healthTimeout the batch and the rest of the rollout
    are upgraded without surge.
    """
    course = born(by=policy(rolling=SURGE))
    course.fails = lambda number, _: number >= 10

    def pending(world: World) -> None:
        for number, pod in world.pods.items():
            if number >= 10 and not pod.unschedulable:
                text = "0/10 nodes are available: 10 Insufficient cpu."
                world.pods[number] = replace(pod, unschedulable=True, reached=False, message=text)

    publish(course, "2.0.0")
    course.run(1, each=pending)
    course.run(HOUR)
    return course


@scene
def in_place() -> Course:
    """With replacementMethod InPlaceIfPossible the image of a running pod is changed, and no pod is deleted."""
    course = born(by=policy(replacementMethod="InPlaceIfPossible"))
    publish(course, "2.0.0")
    course.run(HOUR)
    return course


@scene
def in_place_bad() -> Course:
    """The restore of a bad version in place is a second change of the same pod."""
    course = born(by=policy(replacementMethod="InPlaceIfPossible"))
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(HOUR)
    return course


@scene
def zones() -> Course:
    """Batches may hold four of nine instances, and never mix zones: zone after zone, three at a time."""
    rolling = {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}
    course = born(9, by=policy(rolling=rolling), zones=["a", "b", "c"])
    publish(course, "2.0.0")
    course.run(HOUR)
    return course


@scene
def service_fabric() -> Course:
    """A Service Fabric set goes update domain by update domain, however large a batch may be."""
    everything = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}
    course = born(10, by=policy(mode="Automatic", rolling=everything), serviceFabric=FABRIC, updateDomains=5)
    publish(course, "2.0.0")
    course.run(HOUR)
    return course
