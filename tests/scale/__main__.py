"""Measures the operator at scale and prints a table: `make test-scale`.

Ends with 1 when a bound is missed that does not depend on how busy the machine is: memory, writes, processor time of
one callback, a queue that grows. Seconds are printed and not judged.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from tests.cluster.harness.api import PODS
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import AuditLog
from tests.scale.fairness import Delays, delays
from tests.scale.probes import Reading, Series, blocks, read
from tests.scale.report import Report
from tests.scale.world import World

IDLE_SECONDS = 60.0
EVENTS = 1000
NODES = 20
"""A simulated node takes any number of pods."""
FEW = 5


class Run:
    """One cluster, one operator process after the other."""

    def __init__(self, cluster: Cluster, world: World, big: int, directory: Path) -> None:
        self.cluster, self.world, self.big = cluster, world, big
        self.report = Report()
        self.callbacks = directory / "callbacks.jsonl"
        self.operator = Operator(
            kubeconfig=cluster.kubeconfig,
            namespaces=[],
            log=directory / "operator.log",
            arguments=["--no-leader-elect"],
            program=(sys.executable, "-m", "tests.scale.instrumented"),
            environment={"SCALE_CALLBACKS": str(self.callbacks), "PYTHONPATH": str(ROOT)},
        )

    def say(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201 - minutes go by

    def start(self) -> float:
        """Seconds until it is ready."""
        began = monotonic()
        self.operator.start()
        self.operator.wait_ready(timeout=120)
        return monotonic() - began

    @contextmanager
    def measured(self, what: str) -> Iterator[Series]:
        self.say(what)
        with Series(self.operator) as series:
            yield series
        self._loop(what, series)

    def _loop(self, what: str, series: Series) -> None:
        first, last = series.readings[0].at, series.readings[-1].at
        worst = blocks(self.callbacks, since=first, until=last)
        for block in worst[:3]:
            self.say(f"    {1000 * block.cpu:.0f} ms of processor time ({1000 * block.wall:.0f} ms): {block.what}")
        longest = worst[0].cpu if worst else 0.02
        found = f"{'' if worst else 'below '}{1000 * longest:.0f} ms"
        self.report.add(f"{what}: longest callback", found, "below 100 ms", kept=longest < 0.1)
        self.report.add(
            f"{what}: memory", f"{series.most_memory:.0f} MiB", "below 200 MiB", kept=series.most_memory < 200
        )

    def fill(self) -> None:
        world = self.world
        for namespace in world.namespaces:
            self.cluster.make_namespace(namespace)
            world.furnish(namespace)
        pods = world.sets * world.size
        what = f"create {pods} pods in {world.sets} sets"
        with self.measured(what) as series:
            for place in world.places:
                world.add(*place, world.size)
            world.wait_current(world.places, "1.0.0", timeout=3600)
        self._cost(what, series, pods, most=1.3)

    def _cost(self, what: str, series: Series, instances: int, *, most: float) -> None:
        writes = series.over(lambda reading: reading.writes) / instances
        self.report.add(f"{what}: seconds", f"{series.seconds:.0f}")
        self.report.add(f"{what}: writes an instance", f"{writes:.2f}", f"at most {most}", kept=writes <= most)
        cpu = series.over(lambda reading: reading.cpu) / instances
        looks = series.over(lambda reading: reading.reconciles) / instances
        self.report.add(f"{what}: processor time an instance", f"{1000 * cpu:.1f} ms, {looks:.1f} looks")
        waited = series.over(lambda reading: reading.waited) / max(1.0, writes * instances)
        self.report.add(f"{what}: a write waits for its turn, on average", f"{1000 * waited:.0f} ms")
        self.report.add(f"{what}: the API server answers a write, on average", f"{1000 * series.answer():.0f} ms")
        depths = series.depths()
        grows = len(depths) > 2 and depths[-1] > max(depths[:-1]) and depths[-1] > 20
        shown = ", ".join(f"{depth:.0f}" for depth in depths)
        self.report.add(f"{what}: queue, deepest in each fifth", shown, "does not grow", kept=not grows)

    def restart(self, empty: float) -> None:
        self.operator.terminate()
        self.say("start with all of them")
        began = monotonic()
        full = self.start()
        reading = read(self.operator)
        self.report.add("start: process to ready, nothing there", f"{empty:.1f} s")
        self.report.add("start: process to ready, all there", f"{full:.1f} s, {full - empty:.1f} s more", "5 s more")
        self.report.add("start: processor time until ready", f"{reading.cpu:.1f} s")
        worst = blocks(self.callbacks, since=began, until=monotonic())
        for block in worst[:5]:
            self.say(f"    {1000 * block.cpu:.0f} ms of processor time ({1000 * block.wall:.0f} ms): {block.what}")
        # Importing and reading the configuration comes before there is anything to block.
        longest = worst[0].cpu if worst else 0.02
        self.report.add("start: longest callback", f"{1000 * longest:.0f} ms", "below 100 ms", kept=longest < 0.1)

    def idle(self) -> None:
        self._settle()
        what = "nothing happens"
        with self.measured(what) as series:
            self._until(lambda: monotonic() - series.readings[0].at > IDLE_SECONDS)
        cpu = 100 * series.over(lambda reading: reading.cpu) / series.seconds
        writes = series.over(lambda reading: reading.writes)
        self.report.add(f"{what}: processor", f"{cpu:.1f} % of one")
        self.report.add(f"{what}: writes in {series.seconds:.0f} s", f"{writes:.0f}", "0", kept=writes == 0)

    def events(self) -> None:
        namespace, name = self.world.places[0]
        pods = [pod["metadata"]["name"] for pod in self.world.api.list(PODS, namespace)][:EVENTS]
        what = f"{len(pods)} events that mean nothing"
        with self.measured(what) as series:
            self.world.poke(namespace, pods, str(monotonic()))
        self._event_cost(what, series, len(pods))
        self.say(f"  (all of pods of {namespace}, as {namespace}/{name} is)")

    def _event_cost(self, what: str, series: Series, events: int) -> None:
        cpu = series.over(lambda reading: reading.cpu) / events
        looks = series.over(lambda reading: reading.reconciles)
        self.report.add(f"{what}: processor time an event", f"{1e6 * cpu:.0f} µs, {looks / events:.2f} looks")

    def fairness(self) -> None:
        big, small = ("scale-big", "big"), ("scale-small", "small")
        for place, replicas in ((big, self.big), (small, FEW)):
            self.cluster.make_namespace(place[0])
            self.world.furnish(place[0])
            self.world.add(*place, replicas)
        self.say(f"create one set of {self.big} and one of {FEW}")
        self.world.wait_current([big, small], "1.0.0", timeout=1800)
        alone = self._roll(small, "1.1.0", [])
        what = f"roll {self.big} and {FEW} at once"
        with self.measured(what) as series:
            together = self._roll(small, "1.2.0", [big])
            self.world.wait_current([big], "1.2.0", timeout=1800)
        self._cost(what, series, self.big + FEW, most=2.35)
        for name, of in _DELAYS.items():
            self.report.add(
                f"set of {FEW}: {name}",
                f"{1000 * of(alone):.0f} ms alone, {1000 * of(together):.0f} ms beside {self.big}",
                "1 s more at most",
            )

    def _roll(self, small: tuple[str, str], version: str, others: list[tuple[str, str]]) -> Delays:
        namespace, name = small
        with Recorder(self.world.api, namespace, AuditLog(self.cluster.audit_log)) as recorder:
            for other, _ in others:
                self.world.publish(other, version)
            self.world.publish(namespace, version)
            recorder.wait_for(
                lambda world: world.status(name).get("currentVersion") == version,
                timeout=1200,
                message=f"{name} is on {version}",
            )
        return delays(recorder.trace().seen, version)

    def roll(self) -> None:
        world = self.world
        what = f"roll {world.sets * world.size} pods in {world.sets} sets"
        with self.measured(what) as series:
            for namespace in world.namespaces:
                world.publish(namespace, "2.0.0")
            world.wait_current(world.places, "2.0.0", timeout=3600)
        # Counts are told every five seconds at most, and on two cores this takes minutes.
        self._cost(what, series, world.sets * world.size, most=2.6)

    def _settle(self) -> None:
        """Until nothing is written any more."""
        last: list[Reading] = [read(self.operator)]

        def quiet() -> bool:
            now = read(self.operator)
            if now.writes != last[0].writes:
                last[0] = now
            return now.at - last[0].at > 8

        self._until(quiet)

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            sleep(0.5)


_DELAYS: dict[str, Callable[[Delays], float]] = {
    "publish to first delete": lambda found: found.first,
    "a pod gone to the next one made, longest": lambda found: found.recreate,
    "all Ready to the next batch's delete, longest": lambda found: found.batch,
}


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__.splitlines()[0])
    command.add_argument("--sets", type=int, default=100)
    command.add_argument("--size", type=int, default=100, help="instances of each of them")
    command.add_argument("--big", type=int, default=1000, help="instances of the large set")
    command.add_argument("--only", choices=("fairness",), help="this part, without the hundred sets")
    command.add_argument("--output", type=Path, default=ROOT / ".work" / "scale.json")
    given = command.parse_args()
    # Told to end it ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended before it was through."))
    sets = 0 if given.only else given.sets
    with (
        tempfile.TemporaryDirectory() as directory,
        Cluster(f"scale-{os.getpid()}", Path(directory), nodes=NODES) as cluster,
    ):
        run = Run(cluster, World(cluster.api, sets=sets, size=given.size), given.big, Path(directory))
        try:
            empty = run.start()
            if sets:
                run.fill()
                run.restart(empty)
                run.idle()
                run.events()
            run.fairness()
            if sets:
                run.roll()
        finally:
            run.operator.stop()
            (ROOT / ".work" / "scale.log").write_text(run.operator.log())
    print(run.report.table())  # noqa: T201 - what it is for
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(run.report.rows, indent=2) + "\n")
    if run.report.missed:
        sys.exit("Missed:\n" + "\n".join(run.report.missed))


if __name__ == "__main__":
    main()
