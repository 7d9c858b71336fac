"""A record of everything that happens in a namespace, by watches that know nothing of the operator's own."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Self, TypeVar

import urllib3

from . import invariants, status_invariants, write_invariants
from .api import CLAIMS, EVENTS, IMAGES, PODS, POLICIES, SCALE_SETS, Api, ApiError, Json, Kind, Watch
from .trace import AuditLog, Seen, Trace, Write

T = TypeVar("T")
KINDS = (PODS, CLAIMS, SCALE_SETS, POLICIES, IMAGES, EVENTS)
OPERATOR_AGENT = "scaleset-operator/"


PATIENCE_SECONDS = 300.0
LAG_SECONDS = 10.0


class _TooOldError(Exception):
    """A watch cannot go on from where it was."""


class World:
    """What exists now, by kind and name."""

    def __init__(self, objects: dict[str, dict[str, Json]]) -> None:
        self._objects = objects

    def all(self, kind: Kind) -> dict[str, Json]:
        return self._objects.get(kind.plural, {})

    @property
    def pods(self) -> dict[str, Json]:
        return self.all(PODS)

    @property
    def claims(self) -> dict[str, Json]:
        return self.all(CLAIMS)

    @property
    def scale_sets(self) -> dict[str, Json]:
        return self.all(SCALE_SETS)

    def pods_of(self, scale_set: str) -> list[Json]:
        label = "scaleset.dev/name"
        return [pod for pod in self.pods.values() if (pod["metadata"].get("labels") or {}).get(label) == scale_set]

    def events(self, reason: str) -> list[str]:
        """What the events of that reason say, oldest first."""
        found = [event for event in self.all(EVENTS).values() if event.get("reason") == reason]
        return [str(event.get("note")) for event in sorted(found, key=lambda event: str(event.get("eventTime")))]

    def status(self, scale_set: str) -> Json:
        status: Json = self.scale_sets.get(scale_set, {}).get("status") or {}
        return status


class Recorder:
    """`with Recorder(api, namespace, audit) as recorder:` records until the end of the block.

    `shared`: the operator serves the namespaces of other tests at the same time; what it writes there is theirs.
    """

    def __init__(self, api: Api, namespace: str, audit: AuditLog, *, shared: bool = False) -> None:
        self._api, self._namespace, self._audit = api, namespace, audit
        self._shared = shared
        self._changed = threading.Condition()
        self._seen: list[Seen] = []
        self._objects: dict[str, dict[str, Json]] = {}
        self._watches: dict[str, Watch] = {}
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._ended = False
        self._until = ""
        self._disturbed: set[str] = set()
        self._exempt: dict[str, str] = {}
        self._namespaces = {namespace}
        self._operator_namespaces: set[str] = set()
        self.status_writes_per_batch = 12
        self.patient = False
        """Whether it waits for an API server that is away, as in tests that take it away."""

    def __enter__(self) -> Self:
        for kind in KINDS:
            try:
                items, version = self._api.list_at(kind, self._namespace)
            except ApiError as error:
                if error.status == 404:  # our kinds are not installed in this cluster
                    continue
                raise
            for item in items:
                self._record(kind, "ADDED", item)
            thread = threading.Thread(
                target=self._follow, args=(kind, version), name=f"watch {kind.plural}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the watches. What was recorded stays. The record ends with the last write answered before now, and with
        the pods that those writes made: an operator that goes on is not held to what nobody looked at.
        """
        self._until = self._until or _now()
        self._see_all_pods()
        with self._changed:
            self._ended = True
            watches = list(self._watches.values())
            self._watches.clear()
        for watch in watches:
            watch.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def wait_for(self, until: Callable[[World], T], *, timeout: float, message: str) -> T:
        """Waits for events until `until(world)` gives something true, and returns that."""
        deadline = monotonic() + timeout
        with self._changed:
            while True:
                if self._failure is not None:
                    raise AssertionError(
                        "a watch of the recorder ended: the trace would have a hole"
                    ) from self._failure
                if result := until(World(self._objects)):
                    return result
                left = deadline - monotonic()
                if left <= 0:
                    raise AssertionError(f"{message}: not within {timeout:g} s\n{self._summary()}")
                self._changed.wait(left)

    def never(self, unwanted: Callable[[World], object], *, seconds: float, message: str) -> None:
        """For so long `unwanted(world)` stays false. For what must not happen there is no event to wait for."""
        deadline = monotonic() + seconds
        with self._changed:
            while (left := deadline - monotonic()) > 0:
                assert not unwanted(World(self._objects)), f"{message}\n{self._summary()}"
                self._changed.wait(left)

    def quiet(self, *, seconds: float) -> None:
        """From now on and for so long the operator writes nothing but its lease (S9). By the API server's own time: its
        log lags behind.
        """
        began = _now()
        self.never(lambda _: False, seconds=seconds, message="")
        more = [write for write in self.writes_except_lease() if write.time > began]
        assert not more, "nothing changed, but the operator wrote: " + "; ".join(f"{each} {each.body}" for each in more)

    def settle(self, seconds: float) -> None:
        """Lets that much time go by: for writes that come late by design."""
        self.never(lambda _: False, seconds=seconds, message="")

    def disturb(self, *names: str) -> None:
        """The test itself deletes or changes these pods or claims: that is not held against the operator."""
        self._disturbed.update(names)

    def also(self, namespace: str) -> None:
        """The operator works in that namespace, too; a recorder of its own follows it."""
        self._namespaces.add(namespace)

    def operator_lives_in(self, namespace: str) -> None:
        """There the operator may have pods that pull images, and nothing else."""
        self._operator_namespaces.add(namespace)

    def exempt(self, rule: str, reason: str) -> None:
        """This test does what a rule (S1, S8, ...) forbids otherwise, for a reason."""
        assert reason
        self._exempt[rule] = reason

    @property
    def broken(self) -> bool:
        """Whether a watch ended, so that the trace has a hole."""
        return self._failure is not None

    @property
    def world(self) -> World:
        with self._changed:
            return World({kind: dict(objects) for kind, objects in self._objects.items()})

    def writes(self, agent: str = OPERATOR_AGENT) -> list[Write]:
        """Every write of the operator until now, dry runs and refused ones included."""
        found = self._audit.writes(agent, self._namespace if self._shared else "")
        return [write for write in found if not self._until or write.answered <= self._until]

    def writes_except_lease(self) -> list[Write]:
        return [write for write in self.writes() if write.resource != "leases"]

    def trace(self) -> Trace:
        with self._changed:
            seen = tuple(self._seen)
        return Trace(
            seen=seen,
            writes=tuple(self.writes()),
            disturbed=frozenset(self._disturbed),
            status_writes_per_batch=self.status_writes_per_batch,
            namespaces=frozenset(self._namespaces),
            operator_namespaces=frozenset(self._operator_namespaces),
        )

    def violations(self) -> list[str]:
        """Every invariant that does not hold on what was recorded until now."""
        if self._failure is not None:
            return [f"the trace has a hole: {self._failure!r}"]
        trace = self.trace()
        rules = (*invariants.RULES.items(), *write_invariants.RULES.items(), *status_invariants.RULES.items())
        return [
            f"{name}: {violation}"
            for name, rule in rules
            if name.split()[0] not in self._exempt
            for violation in rule(trace)
        ]

    def _see_all_pods(self) -> None:
        """Waits until the watch has told of every pod that there is."""
        try:
            there = {pod["metadata"]["uid"] for pod in self._api.list(PODS, self._namespace)}
        except (urllib3.exceptions.HTTPError, OSError, ApiError):
            return  # the test took the API server away, so nothing was made either

        def seen() -> bool:
            return self._failure is not None or there <= {each.uid for each in self._seen if each.kind == PODS.plural}

        with self._changed:
            self._changed.wait_for(seen, LAG_SECONDS)

    def _follow(self, kind: Kind, version: str) -> None:
        try:
            while not self._ended:
                try:
                    version = self._watch(kind, version)
                except (urllib3.exceptions.HTTPError, OSError, ApiError, _TooOldError):
                    if not self.patient or self._ended:
                        raise
                    version = self._catch_up(kind)
        except BaseException as error:  # noqa: BLE001 -- whatever it was, the waiting test has to hear of it
            with self._changed:
                if not self._ended:
                    self._failure = error
                    self._changed.notify_all()

    def _watch(self, kind: Kind, version: str) -> str:
        """One watch, from its beginning to its end."""
        watch = self._api.watch(kind, self._namespace, version)
        with self._changed:
            if self._ended:
                watch.close()
            self._watches[kind.plural] = watch
        for event in watch:
            if event["type"] == "ERROR":
                raise _TooOldError(event["object"].get("message"))
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._record(kind, event["type"], event["object"])
        return version

    def _catch_up(self, kind: Kind) -> str:
        """What became of the objects while the API server was away: nothing, as nobody could write. What happened
        between its return and our list is seen as one change.
        """
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            try:
                items, version = self._api.list_at(kind, self._namespace)
                break
            except (urllib3.exceptions.HTTPError, OSError, ApiError):
                if monotonic() > deadline or self._ended:
                    raise
                sleep(0.2)
        with self._changed:
            known = dict(self._objects.get(kind.plural, {}))
        uids = {item["metadata"]["uid"] for item in items}
        for obj in known.values():
            if obj["metadata"]["uid"] not in uids:
                self._record(kind, "DELETED", obj)
        versions = {obj["metadata"]["resourceVersion"] for obj in known.values()}
        for item in sorted(items, key=lambda item: int(item["metadata"]["resourceVersion"])):
            if item["metadata"]["resourceVersion"] not in versions:
                self._record(kind, "MODIFIED", item)
        return version

    def _record(self, kind: Kind, change: str, obj: Json) -> None:
        with self._changed:
            self._seen.append(Seen(monotonic(), change, kind.plural, obj))
            objects = self._objects.setdefault(kind.plural, {})
            if change == "DELETED":
                objects.pop(obj["metadata"]["name"], None)
            else:
                objects[obj["metadata"]["name"]] = obj
            self._changed.notify_all()

    def _summary(self) -> str:
        sets = self._objects.get("scalesets", {})
        lines = [f"ScaleSet {name}: {scale_set.get('status')}" for name, scale_set in sets.items()]
        for pod in self._objects.get("pods", {}).values():
            labels = pod["metadata"].get("labels") or {}
            conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions") or []}
            state = "terminating" if "deletionTimestamp" in pod["metadata"] else conditions.get("Ready", "not started")
            version = labels.get("scaleset.dev/image-version", "")
            lines.append(
                f"pod {pod['metadata']['name']}: Ready={state} {version} {pod['spec']['containers'][0]['image']}"
            )
        return "\n".join(lines)


def _now() -> str:
    """As the audit log writes a time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
