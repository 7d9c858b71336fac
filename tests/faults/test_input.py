"""Bad input and hostile authors: rows 76 to 91. Objects made up from the schemas, floods, forgeries, mutilated pods.

That one wrong field is refused with a sentence is shown in tests/cluster/test_refusals*.py; here it is whatever chance
comes up with, and the operator has to live with what the API server lets in.
"""

import base64
import os
import random
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS, SECRETS, Json, Kind
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.scene import ready, runs, with_claims
from tests.cluster.harness.trace import SET_LABEL
from tests.faults import trace
from tests.faults.generated import made_up
from tests.faults.harness.rig import PATIENCE, Rig, refusal

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 3
SEED = int(os.environ["INPUT_SEED"])
COUNT = int(os.environ.get("INPUT_COUNT", "400"))
KINDS = {"scalesets": SCALE_SETS, "upgradepolicies": POLICIES, "galleryimageversions": IMAGES}
CANARY = "canary-5f0c1d"


def test_whatever_fits_the_schemas_and_what_does_not(rig):
    """Refused by the API server with a 4xx, or answered by a condition; the operator lives and serves the others."""
    rig.settings = trace.Settings(exempt=dict.fromkeys(("S8", "S12", "S14"), "made-up sets run made-up versions"))
    process = rig.start()
    rig.create(replicas=2)
    encoded = base64.b64encode(CANARY.encode()).decode()
    rig.api.create(SECRETS, rig.namespace, {"metadata": {"name": "secret"}, "data": {"password": encoded}})
    chance = random.Random(SEED)
    refused: dict[int, int] = {}
    accepted: list[tuple[Kind, str]] = []
    for number in range(COUNT):
        plural = chance.choice(sorted(KINDS))
        code = create(rig, KINDS[plural], made_up(plural, chance, number))
        if code:
            refused[code] = refused.get(code, 0) + 1
        else:
            accepted.append((KINDS[plural], f"made-{number}"))
    assert len(accepted) > COUNT / 20, "the generator makes nothing but rubbish"
    assert set(refused) <= {400, 422}, f"INPUT_SEED={SEED}: {refused}"
    sets = [name for kind, name in accepted if kind is SCALE_SETS]
    try:
        for name in sets:
            rig.wait(lambda world, name=name: world.status(name).get("conditions"), f"{name} gets conditions")
        rig.publish("2.0.0", "fast")
        recovery = rig.recovered(lambda: rig.healthy(2, version="2.0.0"))
    except AssertionError as error:
        raise AssertionError(f"INPUT_SEED={SEED}: {error}") from error
    assert "Traceback" not in process.log(), f"INPUT_SEED={SEED}"
    assert CANARY not in process.log() + process.metrics()
    assert "\x1b[31m" not in process.log(), "what somebody wrote controls the terminal of who reads the log"
    what = f"{COUNT} objects made up from the schemas (seed {SEED})"
    outcome = f"{sum(refused.values())} refused by the API server, {len(accepted)} answered by a condition"
    for row in (76, 77, 79, 80, 87, 89):
        rig.tell(row, what, times=COUNT, outcome=outcome, recovery=recovery)


def test_large_objects(rig):
    """250 kB of annotations, 10,000 variables, 500 levels."""
    rig.start()
    rig.create(replicas=2)
    notes = {"metadata": {"annotations": {"example.com/notes": "x" * 250_000}}}
    rig.api.patch(SCALE_SETS, rig.namespace, "web", notes)
    many = [{"name": f"VARIABLE_{number}", "value": "x" * 60} for number in range(10_000)]
    body = scale_set("large", replicas=3)
    body["spec"]["template"]["spec"]["containers"][0]["env"] = many
    code = create(rig, SCALE_SETS, body)
    deep: Json = {}
    for _ in range(500):
        deep = {"a": deep}
    nested = scale_set("nested")
    nested["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = deep
    create(rig, SCALE_SETS, nested)
    rig.publish("2.0.0", "fast")
    recovery = rig.recovered(lambda: rig.healthy(2, version="2.0.0"))
    if not code:
        rig.healthy(3, name="large")
    assert "Traceback" not in rig.last.log()
    what = "250 kB of annotations, 10,000 variables, 500 levels"
    rig.tell(81, what, times=3, outcome="the set's neighbours are served as ever", recovery=recovery)


def test_a_flood_of_sets_and_edits(rig):
    """Three hundred sets at once, and one that is edited all the time: a neighbour's upgrade goes on."""
    rig.settings = trace.Settings(exempt={"S12": "what is edited a thousand times is answered often", "S9": "the same"})
    rig.start()
    rig.create(replicas=2)
    rig.apply(scale_set("busy", replicas=1))
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda n: rig.api.create(SCALE_SETS, rig.namespace, scale_set(f"flood-{n}", replicas=0)), range(300)
            )
        )
        began = monotonic()
        edits = 0
        rig.publish("2.0.0", "fast")
        while monotonic() - began < 15 or not upgraded(rig):
            assert monotonic() - began < PATIENCE, "the neighbour is starved"
            notes = {"spec": {"template": {"metadata": {"annotations": {"edit": str(edits)}}}}}
            rig.api.patch(SCALE_SETS, rig.namespace, "busy", notes)
            edits += 1
            rig.recorder.settle(0.01)
    took = monotonic() - began
    every = rig.recovered_within(
        PATIENCE,
        lambda: rig.wait(
            lambda world: all(world.status(f"flood-{n}").get("conditions") for n in range(300)), "all have a condition"
        ),
    )
    what = f"300 sets created at once, one edited {edits} times in {took:.0f} s"
    rig.tell(86, what, times=300 + edits, outcome=f"a neighbour upgraded within {took:.0f} s", recovery=every)


def upgraded(rig: Rig) -> bool:
    return all(ready(pod) and runs(pod) == "2.0.0" for pod in rig.world.pods_of("web"))


def test_a_forged_previous_build_is_not_restored(rig):
    """What an instance goes back to is what the set itself ran, whatever somebody writes on the pod."""
    rig.start()
    rig.policy(healthTimeout="PT15S")
    rig.create(replicas=3)
    rig.publish("2.0.0", "bad")
    rig.batch(1, version="2.0.0")
    forged = '{"model": "web-evil", "version": "0.0.1", "image": "registry.example/evil:0.0.1-fast"}'
    bad = next(name for name, pod in rig.world.pods.items() if runs(pod) == "2.0.0")
    notes = {"annotations": {"scaleset.dev/previous": forged}, "labels": {"scaleset.dev/image-version": "0.0.1"}}
    rig.api.patch(PODS, rig.namespace, bad, {"metadata": notes})
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(3, version="1.0.0")
    images = {pod["spec"]["containers"][0]["image"] for pod in rig.world.pods.values()}
    assert all("evil" not in image for image in images), images
    rig.tell(
        85, "scaleset.dev/previous forged on a pod", times=1, outcome="the set's own build came back", recovery=None
    )


def test_pods_are_mutilated_at_random(rig):
    """Labels, annotations, owners: never more than a batch is down by our doing, no claim is touched."""
    rig.settings = trace.Settings(slack=15, exempt={"S4": "labels lie here", "S8": "the same"})
    rig.start()
    rig.create(replicas=5, volumeClaimTemplates=with_claims())
    claims = rig.claims()
    chance = random.Random(SEED)
    rig.publish("2.0.0")
    times = 0
    for _ in range(60):
        names = sorted(rig.world.pods)
        name = chance.choice(names) if names else ""
        metadata: Json = chance.choice(
            [
                {"labels": {SET_LABEL: None}},
                {"labels": {SET_LABEL: "other"}},
                {"labels": {"scaleset.dev/instance-id": "77"}},
                {"labels": {"scaleset.dev/image-version": "not a version"}},
                {"labels": {"scaleset.dev/model": "web-0000000000"}},
                {"annotations": {"scaleset.dev/previous": "{"}},
                {"ownerReferences": None},
            ]
        )
        times += not patch(rig, name, metadata)
        rig.recorder.settle(chance.uniform(0, 0.4))
    # Whoever wants those instances back deletes the pods that nobody controls any more, or gives the labels back.
    for name, pod in rig.world.pods.items():
        if not pod["metadata"].get("ownerReferences"):
            rig.recorder.disturb(name)
            rig.api.delete(PODS, rig.namespace, name)
        else:
            patch(rig, name, {"labels": {SET_LABEL: "web"}})
    rig.publish("3.0.0")  # the one before may have failed by all this
    recovery = rig.recovered_within(
        PATIENCE, lambda: rig.wait(lambda _: at_work(rig), "all instances are on the new version")
    )
    assert rig.claims() == claims
    what = f"labels, annotations and owners of live pods changed at random (seed {SEED})"
    rig.tell(91, what, times=times, outcome="never beyond a batch; claims untouched", recovery=recovery)


def at_work(rig: Rig) -> bool:
    images = [pod["spec"]["containers"][0]["image"] for pod in rig.world.pods.values() if ready(pod)]
    return len(images) == 5 and all(":3.0.0@" in image for image in images)


def create(rig: Rig, kind: Kind, body: Json) -> int:
    """0, or the HTTP status of the refusal."""
    return refusal(rig.api.create, kind, rig.namespace, body)


def patch(rig: Rig, name: str, metadata: Json) -> int:
    return refusal(rig.api.patch, PODS, rig.namespace, name, {"metadata": metadata})
