"""What the version before this one has stored is carried on: its objects, its definitions replaced by ours, then ours.

The objects are recorded (tests/cluster/stored) and put into etcd as they were, with their uids, times and statuses.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore
from time import monotonic, sleep
from typing import Any

import pytest

from tests.cluster.harness.api import PODS, REVISIONS, Api, ApiError, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.company import Company, Scenario
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import OPERATOR_AGENT, Recorder, World
from tests.cluster.harness.rollouts import rolling, touched
from tests.cluster.harness.scene import KINDS, Scene, has_model, progress
from tests.cluster.harness.storage import Storage
from tests.cluster.harness.trace import AuditLog, Write
from tests.cluster.stored import objects, scenes
from tests.cluster.stored.definitions import OURS, Definitions, added_to_statuses

pytestmark = pytest.mark.timeout(600)

AGE = timedelta(hours=2)
"""What is at rest has been so for longer than any deadline, pause or back-off of the version before."""
WATCHED = 20.0
QUIET = 3.0
LONG = 120.0
"""So many sets at once take their time where the machine has other work."""
A_FEW = BoundedSemaphore(6)


class Succession(Company):
    """Situations that are stored already, each with the record that was begun before this operator started."""

    def __init__(
        self, cluster: Cluster, operator: Operator, scenarios: list[Scenario], *, recorders: dict[str, Recorder]
    ) -> None:
        super().__init__(cluster, operator, scenarios, at_once=len(scenarios))
        self._recorders, self.api = recorders, cluster.api
        self.refusals: list[str] = []
        """What an API server with the new definitions would not let be written to the stored objects."""

    def _namespace(self, _name: str, parameters: dict[str, Any], /) -> str:
        return objects.namespace(parameters["stored"])

    def _play(self, namespace: str, play: Any, parameters: dict[str, Any]) -> None:
        recorder = self._recorders[parameters["stored"]]
        try:
            self._perform(namespace, recorder, play, parameters)
        finally:
            recorder.stop()
        if violations := self._violations(recorder):
            raise AssertionError("Invariants that did not hold:\n" + "\n".join(violations))


@pytest.fixture(scope="module")
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Succession]:
    """A cluster with the objects of the version before, then our operator, then our definitions."""
    folder = tmp_path_factory.mktemp("stored")
    found = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    played = [item for item in found if "scene" in item.fixturenames]
    names = sorted({str(item.callspec.params["stored"]) for item in played})
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(f"stored-{os.getpid()}", folder, crds=False))
        scenes.label_nodes(cluster.api)
        for name in names:
            cluster.make_namespace(objects.namespace(name))
        definitions = Definitions(cluster.api, folder)
        definitions.apply(objects.definitions())
        store(cluster, names)
        definitions.apply(OURS, mark="applied")
        refusals = [*definitions.differences(), *unwritable(cluster.api, names, how="applied")]
        definitions.update(objects.definitions())
        recorders = {name: begun(cluster, objects.namespace(name)) for name in names}
        operator = Operator(
            kubeconfig=cluster.kubeconfig, namespaces=[], log=folder / "operator.log", arguments=["--no-leader-elect"]
        )
        stack.callback(operator.stop)
        refusals += too_early(cluster, operator)
        store(cluster, [name for name in names if name in scenes.UNDER_WAY])  # once more: their times are of now
        definitions.update(OURS, mark="updated")
        if not added_to_statuses():
            operator.start()
        operator.wait_ready(timeout=60)
        scenarios = [(item.name, item.obj, dict(item.callspec.params)) for item in played]
        company = stack.enter_context(Succession(cluster, operator, scenarios, recorders=recorders))
        company.refusals += refusals
        yield company


def begun(cluster: Cluster, namespace: str) -> Recorder:
    """A record that goes on when the definitions are replaced, which ends every watch of their objects."""
    recorder = Recorder(cluster.api, namespace, AuditLog(cluster.audit_log), shared=True)
    recorder.patient = True
    return recorder.__enter__()


def too_early(cluster: Cluster, operator: Operator) -> Iterator[str]:
    """Where the operator comes before its definitions it waits for them, and writes nothing."""
    if not added_to_statuses():
        return
    audit = AuditLog(cluster.audit_log)
    operator.start()
    deadline = monotonic() + 60
    while "the CustomResourceDefinitions are older than this operator" not in operator.log():
        assert monotonic() < deadline, operator.log()[-3000:]
        sleep(0.1)
    sleep(QUIET)
    yield from (f"before the definitions came: {each}" for each in audit.writes(OPERATOR_AGENT))


def store(cluster: Cluster, names: list[str]) -> None:
    """All situations, each as old as it is to be now."""
    storage, now = Storage(cluster.name), datetime.now(UTC)
    for name in names:
        age = AGE if name in scenes.AT_REST else timedelta()
        storage.put(*objects.read(name).at(now - age).objects)


def unwritable(api: Api, names: list[str], *, how: str) -> Iterator[str]:
    """Dry runs of a status write of every object, and of another size of every set."""
    for name in names:
        for body in objects.read(name).objects:
            kind = KINDS.get(body["kind"])
            if kind is None:
                continue
            where = objects.namespace(name), body["metadata"]["name"]
            conditions = [
                {**each, "message": "Another one."} for each in (body.get("status") or {}).get("conditions") or []
            ]
            try:
                api.patch(kind, *where, {"status": {"conditions": conditions}}, subresource="status", dryRun="All")
                if body["kind"] == "ScaleSet":
                    api.patch(kind, *where, {"spec": {"replicas": body["spec"]["replicas"] + 1}}, dryRun="All")
            except ApiError as error:
                yield f"definitions {how}: {body['kind']} of {name}: {error}"


def test_every_stored_object_can_still_be_written(company: Succession) -> None:
    assert not [*company.refusals, *unwritable(company.api, objects.names(), how="updated")]


# At rest


@pytest.mark.parametrize("stored", [*scenes.AT_REST])
def test_what_is_at_rest_stays_as_it_is(scene: Scene, stored: str) -> None:
    before = objects.read(stored)
    run = before.scale_set["status"].get("rollingUpgrade") or {}
    assert scene.uids() == before.uids("Pod")
    scene.never(lambda world: staying(world) != {*before.uids("Pod").values()}, "a pod went or came", seconds=WATCHED)
    assert pod_writes(scene) == []
    assert scene.claims() == before.uids("PersistentVolumeClaim")
    kept = {each["metadata"]["name"]: each["metadata"]["uid"] for each in scene.api.list(REVISIONS, scene.namespace)}
    assert kept == before.uids("ControllerRevision")
    seen = scene.world.status("web").get("rollingUpgrade") or {}
    assert [seen.get(key) for key in RUN] == [run.get(key) for key in RUN]
    with A_FEW:
        goes_on(scene, stored)


RUN = ("id", "progress", "successful", "failed", "restored", "pending", "batchesDone")
BY_HAND = ("outdated", "failed-by-hand", "no-policy")


def goes_on(scene: Scene, stored: str) -> None:
    """The set that stood still can still be upgraded."""
    replicas = scene.world.scale_sets["web"]["spec"]["replicas"]
    if stored == "pinned":
        scene.recorder.exempt("S1", "mode Automatic replaces all at once")
        scene.change(imageReference={"version": "1.1.0"})
        scene.healthy(replicas, version="1.1.0", timeout=LONG)
    elif stored == "suspended":
        scene.change(suspend=None)
        assert scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)["progress"] == progress(replicas, 0, 0, 0)
        scene.healthy(replicas, version="1.1.0", timeout=LONG)
    elif stored == "model-failed":
        scene.change_template(start="0s")
        scene.rollout("Completed", timeout=LONG)
        scene.healthy(replicas, timeout=LONG)
    elif stored == "refused":
        scene.change(template=scenes.template())
        scene.condition("Accepted", "Accepted")
        assert scene.uids() == objects.read(stored).uids("Pod")
    elif stored == "born-bad":
        scene.publish("1.2.0", "fast")
        scene.healthy(replicas, version="1.2.0", timeout=LONG)
    else:
        if stored == "failed":
            scene.policy(mode="Automatic", rolling={"pauseTimeBetweenBatches": "PT1S"})
            scene.never(lambda world: run_of(world) != "1", "another pause brings the failed version back", seconds=8)
        scene.publish("1.2.0", "fast")
        if stored in BY_HAND:
            scene.ask("start-upgrade-at", "second")
        scene.rollout("Completed", "1.2.0", timeout=LONG)
        scene.healthy(replicas, version="1.2.0", timeout=LONG)
    assert scene.claims() == objects.read(stored).uids("PersistentVolumeClaim")


# Under way


@pytest.mark.parametrize("stored", ["rolling"])
def test_a_rollout_goes_on_from_its_batch(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    rollout = scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)
    scene.healthy(10, version="1.1.0")
    assert rollout["progress"] == progress(10, 0, 0, 0)
    assert same(scene, before) == {"web-0", "web-1", "web-2", "web-3"}
    assert touched(scene.recorder) == [[2, 3], [4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize("stored", ["model-rolling"])
def test_a_rollout_of_the_model_goes_on_from_its_batch(scene: Scene, stored: str) -> None:
    before = objects.read(stored)
    rollout = scene.rollout("Completed", run="1", timeout=LONG)
    scene.healthy(5, version="1.0.0", timeout=LONG)
    assert rollout["progress"] == progress(5, 0, 0, 0)
    assert same(scene, before.uids("Pod")) == {"web-0", "web-1"}
    target = before.scale_set["status"]["rollingUpgrade"]["targetModel"]
    assert {has_model(pod) for pod in scene.world.pods_of("web")} == {target}


@pytest.mark.parametrize("stored", ["image-waits"])
def test_a_newer_version_comes_after_the_rollout_of_the_model(scene: Scene, stored: str) -> None:
    rollout = scene.rollout("Completed", run="1", timeout=LONG)
    assert (rollout["kind"], rollout["progress"]) == ("Model", progress(4, 0, 0, 0))
    rollout = scene.rollout("Completed", "1.1.0", timeout=LONG)
    assert rollout["progress"] == progress(4, 0, 0, 0)
    scene.healthy(4, version="1.1.0", timeout=LONG)
    pods = Counter(seen.name for seen in scene.recorder.trace().of("pods") if seen.type == "ADDED")
    assert pods == {"web-0": 2, "web-1": 2, "web-2": 3, "web-3": 3}


@pytest.mark.parametrize("stored", ["pausing"])
def test_a_pause_is_kept(scene: Scene, stored: str) -> None:
    before = objects.read(stored)
    rollout = scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)
    assert rollout["progress"] == progress(4, 0, 0, 0)
    assert same(scene, before.uids("Pod")) == {"web-0", "web-1"}
    until = max(each["nextBatchTime"] for each in runs_of(scene) if each.get("nextBatchTime"))
    assert all(scene.world.pods[name]["metadata"]["creationTimestamp"] >= until for name in ("web-2", "web-3"))


@pytest.mark.parametrize("stored", ["terminating"])
def test_an_old_pod_that_takes_its_time_is_waited_for(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    scene.never(lambda _: scene.uids() != before, "something was replaced meanwhile", seconds=5)
    scene.api.label(PODS, scene.namespace, "web-1", hold_delete=None)
    rollout = scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)
    scene.healthy(5, version="1.1.0", timeout=LONG)
    assert rollout["progress"] == progress(5, 0, 0, 0)
    assert same(scene, before) == {"web-0"}


@pytest.mark.parametrize("stored", ["surging"])
def test_a_surge_goes_on(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    rollout = scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)
    scene.healthy(5, version="1.1.0", timeout=LONG)
    assert rollout["progress"] == progress(5, 0, 0, 0)
    assert {"web-5", "web-6"} <= same(scene, before)


@pytest.mark.parametrize("stored", ["doomed"])
def test_a_version_that_fails_after_the_upgrade_is_taken_back(scene: Scene, stored: str) -> None:
    for rule in ("S4", "S8"):
        scene.recorder.exempt(rule, "what the restored instance had before is older than the record")
    before = objects.read(stored).uids("Pod")
    rollout = scene.rollout("Faulted", "1.1.0", run="1", timeout=LONG)
    scene.healthy(5, version="1.0.0", timeout=LONG)
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 4), "0")
    assert same(scene, before) == {"web-1", "web-2", "web-3", "web-4"}
    scene.never(lambda world: run_of(world) != "1", "it is tried again", seconds=10)


@pytest.mark.parametrize("stored", ["restoring"])
def test_a_restore_goes_on(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    rollout = scene.rollout("Faulted", "1.1.0", run="1", timeout=LONG)
    scene.healthy(5, version="1.0.0", timeout=LONG)
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 4), "0")
    assert scene.uids() == before
    scene.never(lambda world: run_of(world) != "1", "it is tried again", seconds=10)


@pytest.mark.parametrize("stored", ["in-place-starting"])
def test_a_change_in_place_goes_on(scene: Scene, stored: str) -> None:
    rollout = scene.rollout("Completed", "1.1.0", run="1", timeout=LONG)
    scene.healthy(3, version="1.1.0", timeout=LONG)
    assert rollout["progress"] == progress(3, 0, 0, 0)
    assert scene.uids() == objects.read(stored).uids("Pod")


@pytest.mark.parametrize("stored", ["gate-closed"])
def test_a_closed_gate_stays_closed_until_it_opens(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    scene.never(lambda _: scene.uids() != before, "something was replaced behind a closed gate", seconds=10)
    assert pod_writes(scene) == []
    scene.mend_pod("web-3")
    scene.mend_pod("web-4")
    scene.rollout("Completed", "1.1.0", timeout=LONG)
    scene.healthy(5, version="1.1.0", timeout=LONG)


@pytest.mark.parametrize("stored", ["retrying"])
def test_the_next_attempt_is_not_earlier_than_promised(scene: Scene, stored: str) -> None:
    before = objects.read(stored).uids("Pod")
    scene.recorder.settle(15)
    ended = max(each["runningStatus"]["completedTime"] for each in runs_of(scene) if each["id"] == "1")
    begun = [each["runningStatus"]["startTime"] for each in runs_of(scene) if each["id"] != "1"]
    due = datetime.fromisoformat(ended) + timedelta(minutes=1)
    assert all(datetime.fromisoformat(each) >= due for each in begun)
    if not begun:
        assert pod_writes(scene) == []
        assert scene.uids() == before


@pytest.mark.parametrize("stored", ["applying"])
def test_what_is_replaced_on_demand_is_not_replaced_twice(scene: Scene, stored: str) -> None:
    scene.wait(lambda world: not world.status("web").get("applying"), "it is through", timeout=LONG)
    scene.healthy(4, timeout=LONG)
    assert scene.uids() == objects.read(stored).uids("Pod")
    assert pod_writes(scene) == []


@pytest.mark.parametrize("stored", ["taking-turns"])
def test_a_set_that_waits_for_its_turn_goes_on_waiting(scene: Scene, stored: str) -> None:
    for name in ("api", "web"):
        rollout = scene.rollout("Completed", "1.1.0", name=name, timeout=LONG)
        assert rollout["progress"] == progress(2, 0, 0, 0)
        scene.healthy(2, version="1.1.0", name=name, timeout=LONG)
    assert ["api", "web"] not in rolling(scene.recorder)


def test_every_situation_is_met() -> None:
    """What is recorded is played, and what is to be played is recorded."""
    assert objects.names() == sorted([*scenes.AT_REST, *scenes.UNDER_WAY])


def pod_writes(scene: Scene) -> list[str]:
    """Every write of the operator to pods, claims and revisions that was carried out."""
    return [str(write) for write in scene.recorder.writes() if _matters(write)]


def _matters(write: Write) -> bool:
    return write.took_effect and write.resource in ("pods", "persistentvolumeclaims", "controllerrevisions")


def staying(world: World) -> set[str]:
    """The uids of the pods that are not about to go."""
    return {pod["metadata"]["uid"] for pod in world.pods_of("web") if "deletionTimestamp" not in pod["metadata"]}


def same(scene: Scene, before: dict[str, str]) -> set[str]:
    """The pods that are the ones of before."""
    return {name for name, uid in scene.uids().items() if before.get(name) == uid}


def runs_of(scene: Scene) -> list[Json]:
    """The rolling upgrade of the set, each time that the record has it."""
    statuses = [seen.object.get("status") or {} for seen in scene.recorder.trace().of("scalesets")]
    return [status["rollingUpgrade"] for status in statuses if status.get("rollingUpgrade")]


def run_of(world: World) -> str:
    return str((world.status("web").get("rollingUpgrade") or {}).get("id", ""))
