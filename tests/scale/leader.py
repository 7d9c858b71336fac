"""One leader of a simulated fleet: the operator's own parts, wired as the process wires them, and what each step costs.

kopf lists over HTTP. Later events of custom resources are delivered as its handlers do it. The lease is left out.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from time import monotonic, process_time, thread_time, time
from typing import Any

from prometheus_client.exposition import generate_latest

from scaleset import handlers
from scaleset.application import Application, Options
from scaleset.controllers import custom_objects
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.watches import watch
from scaleset.kube import informer
from scaleset.kube.client import Client
from scaleset.kube.rate_limit import Limits
from scaleset.observability.events import EventRecorder
from tests.scale.copies import Json
from tests.scale.fleet import Fleet
from tests.scale.instrumented import timed_callbacks, what
from tests.scale.kopf_front import processor_seconds, served
from tests.scale.stand_in import StandIn

POLL_SECONDS = 0.02
DAY = 86400.0
KOPF_RESTS_SECONDS = 6.0
"""A task of kopf's for an object ends five seconds after its event."""
MEASURING = "measuring"
"""The task that measures: what it prepares is no part of the operator."""


@dataclass
class Longest:
    """The longest callback of a time, by processor time. kopf and its front have loops of their own."""

    cpu: float = 0.0
    what: str = ""

    def report(self, cpu: float, _: float, handle: asyncio.Handle) -> None:
        mine = threading.current_thread() is threading.main_thread()
        if mine and cpu > self.cpu and not (name := what(handle)).startswith(f"{MEASURING}:"):
            self.cpu, self.what = cpu, name


@dataclass(frozen=True)
class Figures:
    """What was measured of one size. Seconds are processor time of the event loop's thread, unless they say wall."""

    sets: int
    pods: int
    followers: int
    """Sets that follow the version that is published."""
    memory_before: float
    memory: float
    memory_peak: float
    start: float
    start_wall: float
    start_longest: float
    start_longest_what: str
    writes_at_rest: int
    kopf: float
    ignored: float
    readiness: float
    status: float
    publish: float
    publish_event: float
    publish_looks: int
    longest: float
    longest_what: str
    lists: float
    lists_longest: float
    lists_longest_what: str
    scrape: float
    scrape_mib: float
    memory_scraped: float


def resident(what: str = "VmRSS") -> float:
    """MiB of this process; VmHWM is the most that it ever had."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{what}:")) / 1024


@contextmanager
def _listed_once() -> Iterator[None]:
    """The lists that are taken again meanwhile would be in every figure: they are measured by themselves."""
    modules = [vars(informer), vars(custom_objects)]
    before = [module["RESYNC_SECONDS"] for module in modules]
    try:
        for module in modules:
            module["RESYNC_SECONDS"] = DAY
        yield
    finally:
        for module, seconds in zip(modules, before, strict=True):
            module["RESYNC_SECONDS"] = seconds


def _poke(body: Json) -> None:
    body["metadata"]["annotations"]["example.com/poke"] = "yes"


def _break(body: Json) -> None:
    for condition in body["status"]["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition |= {
                "status": "False",
                "reason": "ContainersNotReady",
                "message": "containers with unready status",
            }
    body["status"]["containerStatuses"][0]["ready"] = False


class Leader:
    """Runs the operator's parts on a fleet. Use it within `running`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.api = StandIn(fleet, on_write=self._seen)
        self.client = Client(self.api, limits=Limits(qps=inf))
        self.app = Application(Options(leader_elect=False))
        self.caches = watch(self.client, self.app._wakes)
        self.recorder = EventRecorder(
            self.client, instance="fleet", now=time, on_event=self.app._metrics.event_recorded
        )
        self.queue = self.app._queues["scaleset"]
        self.looks = 0
        self.delivered = 0
        """Events of custom resources, as kopf delivers them."""
        self.queue.on_work_duration = self._looked
        self.longest = Longest()
        self._tasks: list[asyncio.Task[None]] = []

    def _looked(self, _: float) -> None:
        self.looks += 1

    def _kinds(self) -> dict[str, handlers.Seen]:
        """What kopf's handlers call, and counts that they did."""

        def counted(objects: CustomObjects[Any]) -> handlers.Seen:
            def seen(kind: str | None, body: Json) -> None:
                self.delivered += 1
                objects.seen(kind, body)

            return seen

        caches = self.caches
        return {each.resource.plural: counted(each) for each in (caches.scale_sets, caches.policies, caches.versions)}

    def _seen(self, plural: str, body: Json) -> None:
        """A custom resource as kopf's handlers deliver it."""
        self._kinds()[plural]("MODIFIED", body)

    def _deliver(self, plural: str, body: Json) -> None:
        asyncio.get_running_loop().call_soon(self._seen, plural, body)

    @asynccontextmanager
    async def running(self, *, kopf: bool = True) -> AsyncIterator[None]:
        parts = [self.caches.run(), self.recorder.run(), self.app._work(self.client, self.caches, self.recorder)]
        with _listed_once(), served(self.api) as self.api.nowhere.of_front:
            if kopf:
                parts.append(handlers.run(self.client, self._kinds(), namespaces=()))
            self._tasks = [asyncio.create_task(part) for part in parts]
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, done: Callable[[], object]) -> None:
        """Fails with the error of a part that ends."""
        while not done():
            for task in self._tasks:
                if task.done():
                    task.result()
                    raise RuntimeError("a part of the operator has ended")
            await asyncio.sleep(POLL_SECONDS)

    async def idle(self, *, looks: int = 0) -> None:
        """Until so many sets were looked at, and nothing waits to be."""
        queues = self.app._queues.values()
        await self.until(lambda: self.looks >= looks and not any(each.depth or each.processing for each in queues))

    @contextmanager
    def measured(self) -> Iterator[Callable[[], float]]:
        """Gives a function that tells the processor time since then, of this thread."""
        began = thread_time()
        yield lambda: thread_time() - began

    # What is measured

    async def ignored(self, pods: Sequence[int]) -> float:
        """An annotation that means nothing, on each of those pods: seconds an event."""
        looks = self.looks
        poked = {index: self._pod(index, _poke) for index in pods}
        with self.measured() as seconds:
            await self._tell(poked)
            found = seconds() / len(pods)
        assert self.looks == looks, "an event that means nothing woke a set"
        return found

    async def readiness(self, pods: Sequence[int]) -> float:
        """Each pod of another set, not Ready and Ready again: seconds a pod, with decisions and their writes."""
        broken = {index: self._pod(index, _break) for index in pods}
        mended = {index: self._pod(index, _poke) for index in pods}
        with self.measured() as seconds:
            for texts in (broken, mended):
                looks = self.looks
                await self._tell(texts)
                await self.idle(looks=looks + len(pods))
            return seconds() / len(pods)

    def _pod(self, index: int, change: Callable[[Json], None]) -> str:
        body = json.loads(self.fleet.copy("pods", index, version=self.api.newer()))
        change(body)
        return json.dumps(body)

    async def _tell(self, pods: Mapping[int, str]) -> None:
        for index, text in pods.items():
            self.api.tell(index, text)
        metadata = json.loads(text)["metadata"]
        name, version = (metadata["namespace"], metadata["name"]), metadata["resourceVersion"]
        await self.until(lambda: (pod := self.caches.pods.get(*name)) is not None and pod.resource_version == version)

    async def status(self, sets: Sequence[int]) -> float:
        """An event of each set in which nothing changed: seconds an event, with the decision."""
        looks, texts = self.looks, [json.dumps(self.api.scale_set(number)) for number in sets]
        with self.measured() as seconds:
            for text in texts:
                self._deliver("scalesets", json.loads(text))
            await self.idle(looks=looks + len(sets))
            return seconds() / len(sets)

    async def publish(self, number: str, *, definition: int = 0) -> tuple[float, float, int]:
        """A version that `latest` leaves out: seconds of the event itself, of everything, and the looks."""
        body, looks = self.api.publish(definition, number, excluded=True), self.looks
        text = json.dumps(body).encode()
        with self.measured() as seconds:
            self._deliver("galleryimageversions", json.loads(text))
            await asyncio.sleep(0)
            event = seconds()
            await self.idle(looks=looks + 1)
            return event, seconds(), self.looks - looks

    async def lists(self) -> float:
        """All lists once more, as they are taken again and again."""
        caches = self.caches
        streams = [
            (each, stream) for each in (caches.pods, caches.claims, caches.revisions) for stream in each._streams
        ]
        with self.measured() as seconds:
            for custom in (caches.scale_sets, caches.policies, caches.versions):
                await asyncio.create_task(custom.list(), name=f"list of {custom.resource}")
            for kind, stream in streams:
                await asyncio.create_task(kind._list(stream), name=f"list of {kind.resource}")
            await self.idle()
            return seconds()

    async def scrape(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of one scrape."""
        began = process_time()
        body = await asyncio.to_thread(generate_latest, self.app._metrics.registry)
        return process_time() - began, len(body)


async def measure(
    fleet: Fleet, *, batch: int = 100, batches: int = 9, kopf: bool = True, say: Callable[[str], None]
) -> Figures:
    """All figures of one size."""
    task = asyncio.current_task()
    assert task is not None
    task.set_name(MEASURING)
    before = resident()
    leader = Leader(fleet)
    longest = leader.longest
    fleet.copy("pods", 0)  # the shapes are made once
    began, cpu = monotonic(), thread_time()
    with timed_callbacks(longest.report):
        async with leader.running(kopf=kopf):
            await leader.idle(looks=fleet.sets)
            if kopf:
                await leader.until(lambda: leader.delivered >= fleet.custom_objects)
            start, start_wall = thread_time() - cpu, monotonic() - began
            of_kopf = processor_seconds()
            if kopf:
                await asyncio.sleep(KOPF_RESTS_SECONDS)
            of_start = (longest.cpu, longest.what)
            memory, peak = resident(), resident("VmHWM")
            writes = sum(leader.api.writes.values())
            say(f"    started: {start:.1f} s of processor time, {start_wall:.0f} s, {memory:.0f} MiB, {writes} writes")
            longest.cpu = 0.0
            sets, pods = _spread(fleet, batch, batches), fleet.instances
            ignored = [await leader.ignored([number * pods for number in each]) for each in sets]
            readiness = [await leader.readiness([number * pods + 1 for number in each]) for each in sets]
            status = [await leader.status(each) for each in sets]
            publishes = [await leader.publish(f"1.1.{n}") for n in range(1, batches + 1)]
            of_events = (longest.cpu, longest.what)
            say(f"    events: {1e6 * median(ignored):.0f} µs, {1e3 * median(readiness):.1f} ms, longest {of_events}")
            longest.cpu = 0.0
            lists = await leader.lists()
            of_lists = (longest.cpu, longest.what)
            scrape, size = await leader.scrape()
            say(f"    lists: {lists:.1f} s; scrape: {scrape:.1f} s, {size / 2**20:.0f} MiB")
            return Figures(
                sets=fleet.sets,
                pods=fleet.sets * fleet.instances,
                followers=min(fleet.sets, fleet.followers),
                memory_before=before,
                memory=memory,
                memory_peak=peak,
                start=start,
                start_wall=start_wall,
                start_longest=of_start[0],
                start_longest_what=of_start[1],
                writes_at_rest=writes,
                kopf=of_kopf,
                ignored=median(ignored),
                readiness=median(readiness),
                status=median(status),
                publish=median(whole for _, whole, _ in publishes),
                publish_event=median(event for event, _, _ in publishes),
                publish_looks=round(median(looks for _, _, looks in publishes)),
                longest=of_events[0],
                longest_what=of_events[1],
                lists=lists,
                lists_longest=of_lists[0],
                lists_longest_what=of_lists[1],
                scrape=scrape,
                scrape_mib=size / 2**20,
                memory_scraped=resident("VmHWM"),
            )


def _spread(fleet: Fleet, batch: int, batches: int) -> list[list[int]]:
    """Numbers of sets for each batch, from everywhere in the fleet, each set once if there are enough."""
    step = max(1, fleet.sets // (batch * batches))
    numbers = [n * step % fleet.sets for n in range(batch * batches)]
    return [numbers[n * batch : (n + 1) * batch] for n in range(batches)]
