"""What happens in the demo, step by step. A step says what it will do, does it, and checks every claim it makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubectl_scaleset.client import Client
from scaleset.planner.ranges import parse
from scaleset.records.kinds import SCALE_SETS, UPGRADE_POLICIES

from . import objects
from .objects import Json
from .place import Place
from .said import Plugin, Printer
from .world import World, serves, version

REPLICAS = 10
ALLOWED_DOWN = 2
EVERYBODY = set(range(REPLICAS))
STEPS = 6
SET = "web"
DEFINITION = "example/web/stable"


class ClaimError(Exception):
    """Something that the demo says is not so."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")


class Story:
    """The six steps. `world` is there once the cluster is."""

    def __init__(self, printer: Printer, place: Place) -> None:
        self.place = place
        self.world: World | None = None
        self.step = 0
        self.checks = 0
        self._printer = printer
        self._plugin = Plugin(printer, place.kubeconfig)
        self._client: Client
        self._world: World

    def tell(self) -> None:
        self._start()
        claims = self._create_fleet()
        self._roll("1.1.0", "a good image")
        self._publish_broken()
        self._roll("1.2.1", "a good image again")
        self._look_back(claims)

    def _start(self) -> None:
        self._begin(self.place.title, self.place.about)
        self.place.start_cluster()
        self._client = Client(str(self.place.kubeconfig), None)
        self.place.start_operator(self._client)
        self._ok("the cluster runs and has our custom resources")
        self._ok("the operator is ready")
        objects.await_service_account(self._client)

    def _create_fleet(self) -> dict[str, str]:
        self._begin(
            f"create a set of {REPLICAS} instances with version 1.0.0",
            f"Each has a volume of its own. At most {ALLOWED_DOWN} may be down at a time (20 %). An instance gets "
            f"{self._timeout} s to become healthy, because this is a demo; the default is 5 minutes. Takes "
            f"{'a few seconds' if self.place.patience == 1 else 'half a minute'}.",
        )
        policy, scale_set = objects.fleet()
        policy["spec"]["healthTimeout"] = f"PT{self._timeout}S"
        objects.create(self._client, UPGRADE_POLICIES, policy)
        self._publish("1.0.0")
        self._world = self.world = World(self._client, replicas=REPLICAS)
        objects.create(self._client, SCALE_SETS, scale_set)
        with self._watching("status"):
            self._wait(lambda: self._all_on("1.0.0"), 40, f"{REPLICAS} healthy instances of 1.0.0")
        self._wait(lambda: self._status().get("healthyReplicas") == REPLICAS, 20, "the same in the status")
        claims = self._world.claims()
        self._check(
            len(claims) == REPLICAS, f"{REPLICAS} bound claims", f"{len(claims)}: {', '.join(sorted(claims)) or 'none'}"
        )
        self._ok(f"{REPLICAS} instances are healthy on 1.0.0, and {REPLICAS} claims are bound")
        return claims

    def _roll(self, target: str, what: str) -> None:
        self._begin(
            f"publish {target}, {what}",
            f"The set follows `latest`, so it rolls by itself: {REPLICAS // ALLOWED_DOWN} batches of {ALLOWED_DOWN}, "
            f"each one only when the one before is healthy. Takes about {20 * self.place.patience} seconds.",
        )
        before = self._world.uids()
        self._world.measure()
        self._publish(target)
        self._until_ended(target, "Completed")
        self._wait(lambda: self._all_on(target), 10, f"{REPLICAS} healthy instances of {target}")
        after = self._world.uids()
        same = [number for number in before if after.get(number) == before[number]]
        self._check(not same, "a new pod for every instance", f"the old one of {same}")
        batches = self._world.batches[self._rollout()["id"]]
        sizes = [len(parse(batches[number])) for number in sorted(batches)]
        self._check(sizes == [ALLOWED_DOWN] * 5, f"5 batches of {ALLOWED_DOWN}", f"batches of {sizes}")
        self._ok(f"{REPLICAS} instances run {target} and are healthy, after 5 batches: {_listed(batches)}")
        self._ok_down()
        current = self._status().get("currentVersion")
        self._check(current == target, f"currentVersion {target}", str(current))

    def _publish_broken(self) -> None:
        self._begin(
            "publish 1.2.0, which never becomes ready",
            "One batch should fail and get 1.1.0 back, and the rollout should stop there. Takes about "
            f"{self._timeout + 8 * self.place.patience} seconds: {self._timeout} s (not the usual 5 minutes) until the "
            "batch has failed, and a few to restore it.",
        )
        before = self._world.uids()
        self._world.measure()
        self._publish("1.2.0", tag="1.2.0-bad")
        self._until_ended("1.2.0", "Faulted")
        self._wait(lambda: self._all_on("1.1.0"), 20, f"{REPLICAS} healthy instances of 1.1.0")
        rollout = self._rollout()
        code = rollout.get("error", {}).get("code")
        reason = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
        self._check(code == reason, f"error {reason}", str(code))
        batches = self._world.batches[rollout["id"]]
        self._check(list(batches) == [1], "one batch", f"batches {_listed(batches)}")
        after = self._world.uids()
        untouched = {number for number in before if after.get(number) == before[number]}
        replaced = EVERYBODY - untouched
        self._check(len(replaced) == ALLOWED_DOWN, f"{ALLOWED_DOWN} instances with a new pod", f"{sorted(replaced)}")
        restored = rollout.get("restored")
        self._check(parse(restored) == replaced, f"restored instances {sorted(replaced)}", f"{restored}")
        self._ok(f"only {_names(replaced)} got 1.2.0; they have 1.1.0 back and are healthy")
        self._ok(f"{len(untouched)} instances were not touched: their pods are the same as before")
        self._ok_down()
        self._ok(f"the rollout is Faulted: {code}")
        self._quiet(4)

    def _quiet(self, seconds: float) -> None:
        """The bad version is remembered: nothing happens although it is still published."""
        last = self._rollout()["id"]
        again = self._world.wait(lambda: self._rollout()["id"] != last or self._world.down(), seconds)
        self._check(not again, "no further attempt of 1.2.0", f"another rollout, {self._fleet()}")
        self._ok(f"1.2.0 is not tried again (watched for {seconds:g} s)")

    def _look_back(self, claims: dict[str, str]) -> None:
        self._begin("look back", "status.osUpgradeHistory has the keys that Azure's has; the plugin prints it:")
        self._plugin.run("history", SET)
        self._printer.blank()
        history = [entry["properties"] for entry in self._status().get("osUpgradeHistory", [])]
        found = [(each["targetImageReference"]["version"], each["runningStatus"]["code"]) for each in history]
        expected = [("1.2.1", "Completed"), ("1.2.0", "Faulted"), ("1.1.0", "Completed")]
        self._check(found == expected, f"the history {expected}", f"{found}")
        restored = history[1].get("rollbackInfo", {}).get("successfullyRolledbackInstanceCount")
        self._check(restored == ALLOWED_DOWN, f"{ALLOWED_DOWN} restored instances in it", f"{restored}")
        self._ok("three upgrades, newest first")
        now = self._world.claims()
        lost = [name for name, uid in claims.items() if now.get(name) != uid]
        self._check(now == claims, "the claims of the beginning", f"{len(now)} claims, others instead of {lost}")
        used = {name for pod in self._world.pods.values() for name in _claims(pod)}
        self._check(used == set(claims), "every pod with its claim", f"{sorted(used)}")
        self._ok(
            f"the {REPLICAS} claims are those of the beginning, by their uids, and each instance still uses its own"
        )

    def _begin(self, title: str, explanation: str) -> None:
        self.step += 1
        if self.step > 1:
            self._printer.blank()
        self._printer.step(f"Step {self.step} of {STEPS}: {title}")
        self._printer.about(explanation)

    def _ok(self, text: str) -> None:
        self.checks += 1
        self._printer.ok(text)

    def _ok_down(self) -> None:
        most = self._world.most_down
        self._check(most <= ALLOWED_DOWN, f"at most {ALLOWED_DOWN} instances down at a time", f"{most}")
        self._ok(f"never more than {most} of {REPLICAS} down at a time, measured at every change of a pod")

    def _check(self, holds: object, expected: str, found: str) -> None:
        if not holds:
            raise ClaimError(expected, found)

    def _wait(self, until: Callable[[], object], timeout: float, expected: str) -> None:
        """A claim that may take a while to come true."""
        timeout *= self.place.patience
        came = self._world.wait(lambda: until() or not self.place.operator_runs(), timeout)
        if not self.place.operator_runs():
            raise ClaimError("the operator to run", "that it has ended")
        self._check(came, f"{expected} within {timeout:g} s", self._fleet())

    def _until_ended(self, target: str, code: str) -> None:
        self._wait(lambda: self._target() == target, 20, f"a rollout to {target}")
        with self._watching("get"):
            self._wait(lambda: self._ended(target), 60, f"the rollout to {target} to end")
        self._check(
            self._code() == code, f"the rollout to {target} {code}", f"{self._code()}, {self._rollout().get('error')}"
        )

    @contextmanager
    def _watching(self, verb: str) -> Iterator[None]:
        """The plugin's live view meanwhile. It ends by itself with the rollout, or when the set is ready."""
        with self._plugin.running(verb, SET, "--watch") as view:
            yield
            self._wait(lambda: view.poll() is not None, 20, f"`{verb} --watch` to end")
        self._printer.blank()

    @property
    def _timeout(self) -> int:
        return self.place.health_timeout

    def _ended(self, target: str) -> bool:
        return self._target() == target and self._code() not in {"", "RollingForward"}

    def _publish(self, number: str, *, tag: str = "") -> None:
        image = f"example.com/{SET}:{tag or number}"
        code = self._plugin.run("publish", image, "--definition", DEFINITION, "--version", number, "--yes")
        self._check(code == 0, f"{number} to be published", f"exit code {code}")

    def _all_on(self, target: str) -> bool:
        pods = self._world.pods
        return (
            set(pods) == EVERYBODY and self._world.down() == 0 and {version(pod) for pod in pods.values()} == {target}
        )

    def _fleet(self) -> str:
        """What there is, for a sentence about what is wrong."""
        with self._world.changed:
            pods = [_said_of(pod) for _, pod in sorted(self._world.pods.items())]
        return f"{self._code() or 'no rollout'} {self._target()}: {', '.join(pods) or 'no pods'}"

    def _status(self) -> Json:
        return dict(self._world.scale_set.get("status") or {})

    def _rollout(self) -> Json:
        return dict(self._status().get("rollingUpgrade") or {})

    def _target(self) -> str:
        return str(self._rollout().get("targetImageReference", {}).get("exactVersion", ""))

    def _code(self) -> str:
        return str(self._rollout().get("runningStatus", {}).get("code", ""))


def _said_of(pod: Json) -> str:
    """Name, version and health; of one that is not healthy also what its conditions say."""
    name = f"{pod['metadata']['name']} {version(pod)}"
    if serves(pod):
        return f"{name} healthy"
    status = pod.get("status", {})
    why = [
        f"{each['type']}=False {each.get('reason', '')} {each.get('message', '')}".strip()
        for each in status.get("conditions") or []
        if each["status"] == "False"
    ]
    return f"{name} not healthy ({status.get('phase')}; {'; '.join(why) or 'no condition says why'})"


def _names(numbers: set[int]) -> str:
    return " and ".join(f"{SET}-{number}" for number in sorted(numbers))


def _listed(batches: dict[int, str]) -> str:
    return ", ".join(batches[number] for number in sorted(batches))


def _claims(pod: Json) -> list[str]:
    volumes = pod["spec"].get("volumes", [])
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
