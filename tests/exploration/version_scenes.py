"""What becomes of a version: good, bad, broken late, and the ways in which it reaches the instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scaleset.planner.snapshot import Verdict
from tests.exploration.course import Course
from tests.exploration.stage import BAD, HOUR, MINUTE, publish, scene
from tests.simulation.scenes import new_model, start
from tests.simulation.world import World, policy

SURGE: dict[str, Any] = {"maxSurge": True}
FABRIC = {"durabilityLevel": "Silver", "nodeTypeDurabilityLevel": "Silver", "typeHandlerVersion": "1.1"}


@scene()
def good(course: Course) -> None:
    """A good version goes over ten instances, two at a time. Each batch is healthy before the next one begins, and the
    version counts as current once all are on it.
    """
    publish(course, "2.0.0")


@scene()
def bad(course: Course) -> None:
    """A version whose pods never become ready touches one batch. It gets its build back, the version is not tried
    again, and the next version needs nobody's help.
    """
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(HOUR)
    publish(course, "2.0.1", ", which is good")


@scene(by=policy(automatic=False))
def bad_by_hand(course: Course) -> None:
    """The same version in a set without automatic upgrades. Who starts a rollout by hand keeps what failed, and the
    next start by hand repairs it.
    """
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(MINUTE)
    start(course, "1")
    course.note("start-upgrade-at is set")
    course.run(HOUR)
    publish(course, "2.0.1", ", which is good")
    start(course, "2")
    course.note("start-upgrade-at is set")


@scene()
def one_bad_node(course: Course) -> None:
    """Instance 4 lives on a node where 2.0.0 does not start. One of six is within the limits: the rollout completes
    without it, and comes back for it until the node is repaired. Then the nine that run 2.0.0 count beside it.
    """
    repaired: list[bool] = []
    course.fails = lambda number, pod: number == 4 and pod.version == "2.0.0" and not repaired
    publish(course, "2.0.0")
    course.run(25 * MINUTE)
    repaired.append(True)
    course.note("the node is repaired")


@scene()
def breaks_late(course: Course) -> None:
    """Pods of 2.0.0 become ready and lose it five seconds later, when the next batch is under way. What was upgraded
    before is taken back, too.
    """
    publish(course, "2.0.0", ", whose pods break five seconds after they were ready", suffix="-late")


@scene(by=policy(rolling={"pauseTimeBetweenBatches": "PT2M"}))
def outage(course: Course) -> None:
    """In the pause after the second batch everything falls ill, whatever it runs. That is not the version's fault:
    nothing is taken back, and it is tried again once the set is well.
    """
    publish(course, "2.0.0")
    course.run(3 * MINUTE)
    for number in range(10):
        course.breaks(number)
    course.note("a database is down, and no instance is ready any more")
    course.run(15 * MINUTE)
    for number in range(10):
        course.heals(number)
    course.note("the database is back")


@scene(5, new=True)
def born_broken(course: Course) -> None:
    """A new set whose only version is bad has nothing to protect yet. A good version repairs it without a rollout, and
    what comes after that is a rollout.
    """
    publish(course, "1.0.0", ", whose pods never become ready", suffix=BAD)
    course.run(10 * MINUTE)
    publish(course, "1.0.1", ", which is good")
    course.run(10 * MINUTE)
    publish(course, "1.1.0")


@scene(by=policy(rolling=SURGE))
def surge(course: Course) -> None:
    """With maxSurge new instances are created beside the old ones, which go once the new ones are healthy: there are
    never fewer than ten that are.
    """
    publish(course, "2.0.0")


@scene(by=policy(rolling=SURGE))
def surge_bad(course: Course) -> None:
    """With maxSurge a bad version takes no instance away: the new ones are removed, the old ones still run."""
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)


@scene(by=policy(rolling=SURGE))
def surge_quota(course: Course) -> None:
    """A quota of ten pods has no room for instances beside the old ones: a batch is upgraded without surge, until the
    quota is raised in the middle of the rollout.
    """
    text = 'pods "web-10" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=10, limited: pods=10'
    refused = Verdict(accepted=False, message=text, quota=True)
    course.admit = lambda instance: refused if instance >= 10 else Verdict(accepted=True)
    publish(course, "2.0.0")
    course.run(50)
    course.admit = lambda _: Verdict(accepted=True)
    course.note("the quota is raised to twenty pods")


@scene(by=policy(rolling=SURGE))
def surge_without_node(course: Course) -> None:
    """No node has room for new instances beside the old ones. After healthTimeout the batch and the rest of the rollout
    are upgraded without surge.
    """
    course.fails = lambda number, _: number >= 10

    def pending(world: World) -> None:
        for number, pod in world.pods.items():
            if number >= 10 and not pod.unschedulable:
                text = "0/10 nodes are available: 10 Insufficient cpu."
                world.pods[number] = replace(pod, unschedulable=True, reached=False, message=text)

    publish(course, "2.0.0")
    course.run(1, each=pending)


@scene(by=policy(replacementMethod="InPlaceIfPossible"))
def in_place(course: Course) -> None:
    """With replacementMethod InPlaceIfPossible the image of a running pod is changed, and no pod is deleted."""
    publish(course, "2.0.0")


@scene(by=policy(replacementMethod="InPlaceIfPossible"))
def in_place_bad(course: Course) -> None:
    """The restore of a bad version in place is a second change of the same pod."""
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)


@scene(5, by=policy(mode="Rolling", replacementMethod="InPlaceOnly"))
def only_in_place(course: Course) -> None:
    """With replacementMethod InPlaceOnly no pod is made again for an upgrade. A new model is refused, and so is a
    version that would bring it along, until the change is taken back.
    """
    before = course.spec.template
    new_model(course)
    course.note("the template is edited")
    course.run(MINUTE)
    publish(course, "2.0.0")
    course.run(MINUTE)
    course.change(template=before)
    course.note("the edit is taken back")


@scene(5)
def moved_tag(course: Course) -> None:
    """The tag of 1.0.0 is moved, and 2.0.0 is bad: the restored instance gets the bits that it ran. Then the registry
    forgets these, and a lost instance gets the tag.
    """
    publish(course, "2.0.0", ", whose pods never become ready", suffix=BAD)
    course.bits = {"example.com/web:1.0.0": f"sha256:{'b' * 64}"}
    course.note("the tag of 1.0.0 is moved")
    course.run(HOUR)
    course.gone = {f"sha256:{'a' * 64}"}
    course.loses(3)
    course.note("the registry forgets the bits before, and instance 3 is lost")


@scene(9, by=policy(rolling={"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}), zones=["a", "b", "c"])
def zones(course: Course) -> None:
    """Batches may hold four of nine instances, and never mix zones: zone after zone, three at a time."""
    publish(course, "2.0.0")


@scene(
    10,
    by=policy(mode="Automatic", rolling={"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}),
    serviceFabric=FABRIC,
    updateDomains=5,
)
def service_fabric(course: Course) -> None:
    """A Service Fabric set goes update domain by update domain, however large a batch may be."""
    publish(course, "2.0.0")


@scene(by=policy(replacementMethod="InPlaceIfPossible"))
def to_windows(course: Course) -> None:
    """No pod becomes one of another operating system in place, so 2.0.0 makes every pod again. 3.0.0 changes images."""
    publish(course, "2.0.0", ", an image of Windows", os_type="Windows")
    course.run(HOUR)
    publish(course, "3.0.0", ", another one", os_type="Windows")
