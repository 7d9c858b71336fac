"""What a watch of the pods tells about a rollout, whoever carries it out.

An instance is available while its pod is Ready, not terminating, and Ready is said of the containers that the pod has
now: a pod whose image was just changed is not available until its new container is. The same rule for everybody.
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import NamedTuple, Self, TypeVar

import urllib3

from tests.cluster.harness.api import PODS, Api, Watch
from tests.cluster.harness.trace import Seen

from .controllers import Controllers

T = TypeVar("T")

WATCHES = 50
"""How often a watch may end before that is a failure."""


class Pod(NamedTuple):
    """What counts of a pod."""

    image: str
    available: bool
    starting: bool
    """Nothing is left to do but to wait until its containers have started."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds of a rollout in which nobody was down, and in which all that was down had only to start. In the rest pods
    were replaced.
    """

    quiet: float = 0.0
    starting: float = 0.0


class Tally:
    """Counts over pod events, in the order in which the API server made them. Every step takes constant time."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._pods: dict[str, Pod] = {}
        self._available: Counter[str] = Counter()
        self._had: dict[str, set[str]] = {}
        self._most = 0
        self._starting = 0
        self._at = 0.0
        self.phases = Phases()

    def feed(self, seen: Seen) -> None:
        self._pass(seen.at)
        before = self._pods.pop(seen.uid, None)
        if before is not None:
            self._available[before.image] -= before.available
            self._starting -= before.starting
        if seen.type != "DELETED":
            available = seen.ready and not seen.terminating
            starting = seen.running and not available and not seen.terminating
            pod = Pod(seen.image, available=available, starting=starting)
            self._pods[seen.uid] = pod
            self._available[pod.image] += pod.available
            self._starting += pod.starting
            self._had.setdefault(pod.image, set()).add(seen.uid)
        self._most = max(self._most, self.unavailable)

    def reset(self, at: float) -> None:
        """The largest number of unavailable instances is that of now, and phases count from now."""
        self._most = self.unavailable
        self._at, self.phases = at, Phases()

    def _pass(self, at: float) -> None:
        """The time since the last event goes to what there was then."""
        passed, self._at = at - self._at, at
        if not self.unavailable:
            self.phases = replace(self.phases, quiet=self.phases.quiet + passed)
        elif self.unavailable == self._starting:
            self.phases = replace(self.phases, starting=self.phases.starting + passed)

    @property
    def unavailable(self) -> int:
        return max(0, self._replicas - self._available.total())

    @property
    def most_unavailable(self) -> int:
        """The largest number at one time since `reset`."""
        return self._most

    def available_on(self, image: str) -> int:
        return self._available[image]

    def done(self, image: str) -> bool:
        """Whether every instance is available on that image, and there is no pod besides them."""
        return len(self._pods) == self._replicas == self._available[image]

    def healthy_without(self, image: str) -> bool:
        """Whether every instance is available, and none has that image."""
        return len(self._pods) == self._replicas == self._available.total() and not self._available[image]

    def exposed_to(self, image: str) -> int:
        """How many pods ever had that image."""
        return len(self._had.get(image, ()))


class NotInTimeError(Exception):
    """What was waited for did not happen."""


class Fleet:
    """`with Fleet(api, namespace, replicas=...) as fleet:` follows the pods of a namespace by a watch of its own."""

    def __init__(self, api: Api, namespace: str, *, replicas: int) -> None:
        self._api, self._namespace, self._replicas = api, namespace, replicas
        self._changed = threading.Condition()
        self._tally = Tally(replicas)
        self._watch: Watch | None = None
        self._version = ""
        self._ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name=f"watch {namespace}", daemon=True)

    def __enter__(self) -> Self:
        pods, self._version = self._api.list_at(PODS, self._namespace)
        for pod in pods:
            self._tally.feed(Seen(monotonic(), "ADDED", PODS.plural, pod))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            watch = self._watch
        if watch is not None:
            with suppress(ValueError):  # it ended by itself at this moment
                watch.close()
        self._thread.join(timeout=10)

    def reset(self) -> None:
        with self._changed:
            self._tally.reset(monotonic())

    def count(self, what: Callable[[Tally], T]) -> T:
        with self._changed:
            return what(self._tally)

    def wait(self, until: Callable[[Tally], bool], controllers: Controllers, *, timeout: float, message: str) -> float:
        """Waits for pod events until `until(tally)`; returns the monotonic time at which that was seen."""
        deadline = monotonic() + timeout
        with self._changed:
            while True:
                if self._failure is not None:
                    raise NotInTimeError(str(self._failure)) from self._failure
                if until(self._tally):
                    return monotonic()
                left = deadline - monotonic()
                if left <= 0:
                    raise NotInTimeError(f"{message}: not within {timeout:.0f} s")
                self._changed.wait(min(left, 1))
                controllers.check()

    def _follow(self) -> None:
        """The API server drops a watch that is read too slowly, as on a busy machine: then the next one goes on where
        that one was, and nothing is missed.
        """
        failure: BaseException = NotInTimeError(f"{WATCHES} watches of the pods of {self._namespace} ended")
        for _ in range(WATCHES):
            try:
                self._follow_once()
            except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
                pass  # cut off in the middle
            except BaseException as error:  # noqa: BLE001 -- whatever it was, who waits has to hear of it
                failure = error
                break
            if self._ended:
                return
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _follow_once(self) -> None:
        watch = self._api.watch(PODS, self._namespace, self._version, seconds=3600)
        with self._changed:
            self._watch = watch
            if self._ended:
                watch.close()
        for event in watch:
            if event["type"] == "ERROR":
                raise NotInTimeError(f"the watch of the pods ended: {event['object'].get('message')}")
            with self._changed:
                self._version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._tally.feed(Seen(monotonic(), event["type"], PODS.plural, event["object"]))
                    self._changed.notify_all()
