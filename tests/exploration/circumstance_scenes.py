"""What gets in the way of a rollout: sick instances, the API server, the kubelet, other sets, the operator's death."""

from __future__ import annotations

from scaleset.planner.snapshot import QueuePosition, Verdict
from tests.exploration.course import Course
from tests.exploration.stage import MINUTE, publish, scene
from tests.simulation.world import policy


@scene()
def gate_closed(course: Course) -> None:
    """Three of ten instances are unhealthy when a version is published: the rollout waits, and begins when one of them
    is healthy again.
    """
    for number in (6, 7, 8):
        course.breaks(number)
    course.note("three instances fall ill")
    course.run(MINUTE)
    publish(course, "2.0.0")
    course.run(10 * MINUTE)
    course.heals(7)
    course.note("instance 7 is well again")
    course.run(10 * MINUTE)
    course.heals(6)
    course.heals(8)
    course.note("so are the others")


@scene()
def gate_closes_in_the_middle(course: Course) -> None:
    """Three instances that the rollout has not reached fall ill in its second batch. It ends as Faulted, and is tried
    again once the gate has been open for a minute.
    """
    publish(course, "2.0.0")
    course.run(30)
    for number in (7, 8, 9):
        course.sickens(number)
    course.note("instances 7, 8 and 9 fall ill")
    course.run(10 * MINUTE)
    for number in (7, 8, 9):
        course.loses(number)
    course.note("somebody deletes their pods")


@scene()
def never_ran(course: Course) -> None:
    """The dry run passed, and then a quota that somebody lowered refuses the new pods. The image never ran, so the
    version is not remembered: it is tried again once the quota is raised.
    """
    publish(course, "2.0.0")
    course.quota = lambda creation: "exceeded quota: memory" if creation.build.version == "2.0.0" else None
    course.note("the namespace has no room for the larger pods of 2.0.0")
    course.run(12 * MINUTE)
    course.quota = lambda _: None
    course.note("the quota is raised")


@scene()
def refused_by_dry_run(course: Course) -> None:
    """An admission policy does not let the new pods in. The API server is asked before anything is deleted."""
    course.admit = lambda _: Verdict(accepted=False, message='admission webhook "images" denied the request: unsigned')
    publish(course, "2.0.0", ", and not signed")
    course.run(5 * MINUTE)
    course.admit = lambda _: Verdict(accepted=True)
    course.note("2.0.0 is signed")


@scene()
def evicted(course: Course) -> None:
    """The node of instance 7 has no memory left: its pods are evicted before they are ready, and made again after a
    longer and longer while. The rollout does not wait for the second of a row, and completes without it.
    """
    publish(course, "2.0.0")
    course.run(5)
    course.leaves.add(7)
    course.loses(7)
    course.note("the pod of instance 7 is lost, and its node has no memory left")
    course.run(8 * MINUTE)
    course.leaves.clear()
    course.note("the node has room again")


@scene(5)
def old_pod_does_not_go(course: Course) -> None:
    """The node of instance 1 is gone, and its pod stays Terminating: no force delete, no second pod of that name. It
    fails after its time, and that is not the image's fault: the next attempt leaves it to the end.
    """
    course.held.add(1)
    publish(course, "2.0.0")
    course.run(9 * MINUTE)
    course.held.clear()
    course.note("the node is back, and the pod has ended")


@scene(5, by=policy(maxConcurrentScaleSets=1))
def waits_for_its_turn(course: Course) -> None:
    """With maxConcurrentScaleSets: 1 the set waits until another one of its policy has ended its rollout."""
    others = [1]
    course.turn = lambda: QueuePosition(rolling=others[0], ahead=0)
    publish(course, "2.0.0")
    course.run(10 * MINUTE)
    others[0] = 0
    course.note("the other set has ended its rollout")


@scene(5, by=policy(rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40}))
def operator_dies(course: Course) -> None:
    """The operator is killed after the first of the deletions of a batch, and again before it creates a pod. Another
    one goes on from what is written down.
    """
    publish(course, "2.0.0")
    course.step(writes=2)
    course.note("the operator is killed after two writes: the status, and one deletion")
    course.run(10)
    course.step(writes=0)
    course.note("it is killed again")
