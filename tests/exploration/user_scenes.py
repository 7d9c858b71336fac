"""What people do before and during a rollout: they cancel, pin, suspend, protect, scale and edit the model."""

from __future__ import annotations

from dataclasses import replace

from scaleset.api import names
from tests.exploration.course import Course
from tests.exploration.stage import HOUR, MINUTE, publish, scene
from tests.simulation.scenes import ask, cancel, new_model, pin
from tests.simulation.world import policy, spec


@scene()
def cancelled(course: Course) -> None:
    """Somebody cancels in the second batch: it ends, and no other begins. The version is remembered as if it had
    failed, or it would start again at once; a newer one starts.
    """
    publish(course, "2.0.0")
    course.run(30)
    cancel(course)
    course.note("cancel-upgrade-at is set")
    course.run(10 * MINUTE)
    publish(course, "2.0.1")


@scene(by=policy(mode="Rolling"))
def superseded(course: Course) -> None:
    """The model is edited in the second batch of an image upgrade: the batch ends, the rollout is cancelled, and the
    next one brings both the version and the model.
    """
    publish(course, "2.0.0")
    course.run(30)
    new_model(course)
    course.note("the template is edited")


@scene()
def withdrawn(course: Course) -> None:
    """The publisher excludes a version from latest while it rolls: the batch ends, and so does the rollout. Instances
    that were upgraded stay: there is no automatic downgrade.
    """
    publish(course, "2.0.0")
    course.run(30)
    course.catalogue[-1] = replace(course.catalogue[-1], excluded=True)
    course.note("2.0.0 is excluded from latest")
    course.run(10 * MINUTE)
    publish(course, "2.0.1")


def _suspended_for_ten_minutes(course: Course) -> None:
    course.change(suspend=True)
    course.note("spec.suspend is set")
    course.run(10 * MINUTE)
    course.change(suspend=False)
    course.note("spec.suspend is lifted")


@scene(6, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M", "maxBatchInstancePercent": 34}))
def suspended(course: Course) -> None:
    """Batches have a minute between them. The set is suspended for ten minutes in the second one, which ends."""
    publish(course, "2.0.0")
    course.run(90)
    _suspended_for_ten_minutes(course)


@scene(6, by=policy(upgradeTimeout="PT1M30S", rolling={"maxBatchInstancePercent": 17}))
def out_of_time(course: Course) -> None:
    """A rollout has ninety seconds. The set is suspended in the second batch, for ten minutes that do not count. It
    ends after the batch in which its time is up, and the version is not tried again.
    """
    publish(course, "2.0.0")
    course.run(30)
    _suspended_for_ten_minutes(course)
    course.run(10 * MINUTE)
    course.policy = policy()
    publish(course, "2.0.1", ", and upgradeTimeout is removed")


@scene()
def protected(course: Course) -> None:
    """The second batch waits for a webhook that does not let the pod of instance 3 be deleted. Then 3 and 5 are
    protected: 3 leaves the batch with the pod that it has, no batch reaches 5. Once nobody is protected they are
    upgraded.
    """
    course.keeps_alive = lambda deletion: 'webhook "drain" denied the request' if deletion.instance == 3 else None
    publish(course, "2.0.0")
    course.run(MINUTE)
    _protect(course, 3, 5)
    course.note("instances 3 and 5 are protected")
    course.run(10 * MINUTE)
    course.keeps_alive = lambda _: None
    _protect(course)
    course.note("nobody is protected any more, and the webhook is gone")


@scene(3, by=policy(mode="Rolling"), podManagementPolicy="OrderedReady")
def scaled_out_in_order(course: Course) -> None:
    """Three instances become seven, one after the other. Instance 4 is not well with the template: the next ones wait
    for it, and the corrected template reaches it first.
    """
    course.change(replicas=5)
    course.note("replicas: 5")
    course.run(30)
    course.broken = {4}
    course.note("what instance 4 needs is missing")
    course.run(MINUTE)
    course.change(replicas=7)
    course.note("replicas: 7")
    course.run(10 * MINUTE)
    course.broken = set()
    course.sick = {course.pods[4].uid}
    new_model(course)
    course.note("the template is corrected")


@scene(6, rollingUpgradeOrder={"direction": "Descending"})
def downwards(course: Course) -> None:
    """An upgrade from the highest id down, as a StatefulSet does it. In the second batch instance 0 is chosen to go
    when the set shrinks by one.
    """
    publish(course, "2.0.0")
    course.run(30)
    preferred = spec(scaleInPolicy={"preferredInstances": [0]}).scale_in_policy
    course.change(replicas=5, scale_in_policy=preferred)
    course.note("replicas: 5, preferredInstances: [0]")


@scene()
def scaled_in(course: Course) -> None:
    """Ten instances are scaled to six in the middle of a rollout. The rollout and scaling in take turns, and what goes
    goes by batches.
    """
    publish(course, "2.0.0")
    course.run(30)
    course.change(replicas=6)
    course.note("replicas: 6")


@scene(5, by=policy(mode="Rolling"))
def pinned_and_back(course: Course) -> None:
    """A pin to an older version is a model change, and the one way down. With the pin lifted the set goes up again."""
    publish(course, "2.0.0")
    course.run(10 * MINUTE)
    pin(course, "1.0.0")
    course.note("imageReference.version: 1.0.0")
    course.run(10 * MINUTE)
    pin(course, "latest")
    course.note("imageReference.version: latest")


@scene(by=policy(mode="Rolling", rolling={"rollbackFailedInstancesOnPolicyBreach": True}))
def model_rolled_back(course: Course) -> None:
    """A new model does not start. With rollbackFailedInstancesOnPolicyBreach the failed instances get the model before
    back; the platform does not try that model again.
    """
    new_model(course, "2")
    course.note("the template is edited, by mistake")
    wrong = course.model.name
    course.fails = lambda _, pod: pod.model == wrong
    course.run(HOUR)
    new_model(course, "3")
    course.note("the mistake is mended")


@scene(by=policy(mode="Rolling"))
def fixed_by_a_model(course: Course) -> None:
    """Credentials in the template expire, and five instances that were restarted are unhealthy: the gate is closed. The
    model with new ones reaches those first.
    """
    expired = course.model.name
    course.fails = lambda number, pod: number in (2, 3, 5, 7, 8) and pod.model == expired
    for number in (2, 3, 5, 7, 8):
        pod = course.pods[number]
        course.pods[number] = replace(pod, ready=False, ready_since=course.now, message="registry: 401 Unauthorized")
    course.note("five instances are restarted")
    course.run(10 * MINUTE)
    new_model(course)
    course.note("the template is edited")


@scene()
def restarted(course: Course) -> None:
    """Half of the instances hang. The gate is closed, so a restart begins with these; the others follow once it is
    open. A version that is published meanwhile waits.
    """
    for number in (2, 3, 5, 7, 8):
        course.sickens(number)
    course.note("five instances hang")
    course.run(10 * MINUTE)
    ask(course, names.ANNOTATION_RESTART)
    course.note("restart-at is set")
    course.run(30)
    publish(course, "2.0.0")


@scene(by=policy(mode="Rolling", rolling={"maxBatchInstancePercent": 40}))
def rolled_back(course: Course) -> None:
    """The upgrade to 2.0.0 completes, and then eight of ten instances break. One write pins 1.0.0 and sets rollback-at:
    the broken instances go back first. With the pin lifted 2.0.0 stays away, and 2.0.1 comes.
    """
    publish(course, "2.0.0")
    course.run(10 * MINUTE)
    for number in range(2, 10):
        course.sickens(number)
    course.note("eight instances break")
    course.run(10 * MINUTE)
    pin(course, "1.0.0")
    ask(course, names.ANNOTATION_ROLLBACK)
    course.note("imageReference.version: 1.0.0, and rollback-at is set")
    course.run(10 * MINUTE)
    pin(course, "latest")
    course.note("imageReference.version: latest")
    course.run(10 * MINUTE)
    publish(course, "2.0.1")


def _protect(course: Course, *numbers: int) -> None:
    items = [{"id": number, "protectFromScaleSetActions": True} for number in numbers]
    course.change(protected_instances=spec(protectedInstances=items).protected_instances)
