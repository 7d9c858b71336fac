"""A thousand things that users, nodes and bad luck do, in random order, at random moments (row 92).

Several at once, then some time to react, from none to enough for a batch. What is promised is judged on all of it.

    WALK_SEED=7 WALK_STEPS=20000 .venv/bin/python -m pytest -s tests/faults/test_random_walk.py

repeats a walk, or takes a longer one. In the end everybody stops, what is broken is mended and one more good version is
published: then every set has to get there by itself (L1).
"""

import os
import pickle
import random
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic

import pytest

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS, ApiError, Json
from tests.cluster.harness.manifests import image_version, scale_set
from tests.cluster.harness.scene import ready, runs, with_claims
from tests.cluster.harness.trace import SET_LABEL
from tests.faults import trace
from tests.faults.harness.report import FOLDER
from tests.faults.harness.rig import Rig, refusal

STEPS = int(os.environ.get("WALK_STEPS", "1000"))
SEED = int(os.environ["WALK_SEED"])
pytestmark = pytest.mark.timeout(600 + STEPS)
MOST_AT_ONCE = 6
LONGEST_PAUSE = 2.0
BEHAVIOURS = ("bad", "crash", "pullfail", "flaky")


class Walk:
    """What may happen next. A step returns what it did, or nothing if it could not be done."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.api, self.namespace = rig, rig.api, rig.namespace
        self.random = random.Random(seed)
        self.versions = count(2)
        self.published: list[str] = []
        self.models = count(1)
        self.requests = count(1)
        self.broken: set[str] = set()
        self.steps: list[tuple[int, Callable[[], str]]] = [
            (6, self.publish_good),
            (4, self.publish_bad),
            (4, self.exclude),
            (3, self.include),
            (2, self.delete_version),
            (6, self.edit_policy),
            (10, self.scale),
            (4, self.change_model),
            (4, self.suspend),
            (5, self.cancel),
            (5, self.start),
            (14, self.delete_pod),
            (4, self.relabel_pod),
            (10, self.break_pod),
            (14, self.mend_pod),
            (5, self.kill_operator),
        ]

    def several(self) -> Iterator[str]:
        """Steps without a pause between them."""
        for _ in range(self.random.randint(1, MOST_AT_ONCE)):
            if what := self.step():
                yield what

    def step(self) -> str:
        weights = [weight for weight, _ in self.steps]
        _, do = self.random.choices(self.steps, weights)[0]
        try:
            return do()
        except ApiError as error:
            if error.status in (404, 409):  # gone, or changed, while we chose it
                return f"{do.__name__}: {error.reason}"
            raise

    # Versions

    def publish_good(self) -> str:
        return self._publish(self.random.choice(("", "fast")))

    def publish_bad(self) -> str:
        return self._publish(self.random.choice(BEHAVIOURS))

    def _publish(self, behaviour: str) -> str:
        version = f"{next(self.versions)}.0.0"
        self.published.append(version)
        self.api.create(IMAGES, self.namespace, image_version(version, behaviour=behaviour))
        return f"publish {version} {behaviour or 'good'}"

    def exclude(self) -> str:
        return self._exclude(excluded=True)

    def include(self) -> str:
        return self._exclude(excluded=False)

    def _exclude(self, *, excluded: bool) -> str:
        version = self.random.choice([*self.published[-4:], "1.0.0"])
        body = {"spec": {"publishingProfile": {"excludeFromLatest": excluded}}}
        self.api.patch(IMAGES, self.namespace, f"server-{version}", body)
        return f"{'exclude' if excluded else 'include'} {version}"

    def delete_version(self) -> str:
        if not self.published:
            return ""
        version = self.random.choice(self.published[-4:])
        self.api.delete(IMAGES, self.namespace, f"server-{version}")
        return f"delete version {version}"

    # Wishes

    def edit_policy(self) -> str:
        rolling: Json = {
            "maxBatchInstancePercent": self.random.choice((20, 34, 50)),
            "maxUnhealthyInstancePercent": self.random.choice((20, 40, 60)),
            "maxUnhealthyUpgradedInstancePercent": self.random.choice((0, 20, 50)),
            "pauseTimeBetweenBatches": self.random.choice(("PT0S", "PT1S")),
            "prioritizeUnhealthyInstances": self.random.random() < 0.5,
        }
        mode = self.random.choice(("Manual", "Rolling"))
        method = self.random.choice(("Recreate", "InPlaceIfPossible"))
        self._policy(rolling, mode=mode, replacementMethod=method)
        return f"policy {rolling} {mode} {method}"

    def _policy(self, rolling: Json, **spec: str) -> None:
        body = {"rollingUpgradePolicy": rolling, **spec}
        self.api.patch(POLICIES, self.namespace, "policy", {"spec": body})

    def scale(self) -> str:
        replicas = self.random.choice((0, 1, 2, 3, 4, 5, 5, 6, 7, 8))
        return self._change(f"replicas {replicas}", {"replicas": replicas})

    def change_model(self) -> str:
        number = next(self.models)
        return self._change(f"model {number}", {"template": {"metadata": {"annotations": {"model": str(number)}}}})

    def suspend(self) -> str:
        suspended = self.random.random() < 0.3
        return self._change(f"suspend {suspended}", {"suspend": suspended})

    def _change(self, what: str, spec: Json) -> str:
        name = self._set()
        self.api.patch(SCALE_SETS, self.namespace, name, {"spec": spec})
        return f"{name}: {what}"

    def cancel(self) -> str:
        return self._ask("cancel-upgrade-at")

    def start(self) -> str:
        return self._ask("start-upgrade-at")

    def _ask(self, request: str) -> str:
        name = self._set()
        self.rig.ask(request, str(next(self.requests)), name)
        return f"{name}: {request}"

    # Bad luck

    def delete_pod(self) -> str:
        name = self._pod()
        if name:
            self.api.delete(PODS, self.namespace, name)
        return name and f"delete pod {name}"

    def relabel_pod(self) -> str:
        name = self._pod()
        if not name:
            return ""
        value = self.random.choice((None, name.rpartition("-")[0]))
        changes = {SET_LABEL: value} if self.random.random() < 0.5 else {"scaleset.dev/image-version": "9.9.9"}
        self.api.patch(PODS, self.namespace, name, {"metadata": {"labels": changes}})
        return f"relabel {name}: {changes}"

    def break_pod(self) -> str:
        name = self._pod()
        if name:
            self.rig.break_pod(name)
            self.broken.add(name)
        return name and f"break {name}"

    def mend_pod(self) -> str:
        if not self.broken:
            return ""
        name = self.random.choice(sorted(self.broken))
        self.broken.discard(name)
        self.rig.mend_pod(name)
        return f"mend {name}"

    def kill_operator(self) -> str:
        self.rig.last.kill()
        self.rig.last.start()
        return "kill the operator"

    def _set(self) -> str:
        return self.random.choice(sorted(self.rig.world.scale_sets))

    def _pod(self) -> str:
        names = sorted(self.rig.world.pods)
        return self.random.choice(names) if names else ""

    # The end

    def settle(self) -> None:
        """Everybody wants what can be had."""
        for name in sorted(self.rig.world.pods):
            labels = {SET_LABEL: name.rpartition("-")[0], "sim.scaleset.dev/ready": None}
            body = {"metadata": {"labels": labels}}
            assert refusal(self.api.patch, PODS, self.namespace, name, body) in (0, 404)
        for name in sorted(self.rig.world.scale_sets):
            self.rig.change(name, suspend=False, replicas=4)
        rolling = {
            "maxBatchInstancePercent": 20,
            "maxUnhealthyInstancePercent": 60,
            "maxUnhealthyUpgradedInstancePercent": 20,
            "pauseTimeBetweenBatches": "PT0S",
            # What was added while a bad version was the latest would keep the gate closed for the good one.
            "prioritizeUnhealthyInstances": True,
        }
        self._policy(rolling, healthTimeout="PT20S")


def test_a_thousand_random_steps(rig):
    rig.settings = trace.Settings(
        slack=15,
        exempt={
            "S12": "who writes much at us is written back to much",
            "S4": "by status: a user's hands change what an instance had before",
            "S8": "by labels: the same",
        },
    )
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    rig.policy(healthTimeout="PT4S")
    rig.create(replicas=5, volumeClaimTemplates=with_claims())
    rig.apply(scale_set("api", replicas=3))
    rig.healthy(3, name="api")
    claims = rig.claims()
    walk = Walk(rig, SEED)
    told: list[str] = []
    began = monotonic()
    try:
        while len(told) < STEPS:
            told.extend(f"{monotonic() - began:.1f} s  {what}" for what in walk.several())
            rig.recorder.settle(walk.random.uniform(0, LONGEST_PAUSE))
        walked = monotonic() - began
        walk.settle()
        last = f"{next(walk.versions)}.0.0"
        rig.publish(last, "fast")
        recovery = rig.recovered_within(
            300, lambda: [rig.healthy(4, version=last, name=name) for name in ("web", "api")]
        )
        rig.quiet(seconds=5)
        found = rig.violations()
        assert not found, "\n".join(found)
    except AssertionError as error:
        kept = FOLDER / f"walk-{SEED}.pickle"
        kept.write_bytes(pickle.dumps(rig.recorder.trace()))
        where = f"WALK_SEED={SEED}, after {len(told)} steps (trace: {kept})"
        raise AssertionError(f"{where}: {error}\n" + "\n".join(told[-40:])) from None
    assert all(ready(pod) and runs(pod) == last for pod in rig.world.pods.values())
    assert claims.items() <= rig.claims().items(), "a claim was lost"
    what = f"{len(told)} random steps in {walked:.0f} s (seed {SEED})"
    outcome = f"no promise broken; all on the last version {recovery:.0f} s after the last step"
    rig.tell(92, what, times=len(told), outcome=outcome, recovery=None)
