"""Objects as they are now, kept current by watches in threads of their own, until somebody has seen enough."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from kubectl_scaleset.failures import TIMED_OUT, CliError
from kubectl_scaleset.outcomes import Outcome
from kubectl_scaleset.pictures import SetView
from scaleset.kube.errors import ApiError, TooManyRequests, Unavailable
from scaleset.kube.resources import JSON, Resource
from scaleset.records.kinds import SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.client import Client, Watch
    from kubectl_scaleset.session import Session


RETRY_SECONDS = 1.0
TICK_SECONDS = 1.0
"""How often a view is drawn again though nothing changed: ages grow."""
PATIENCE_SECONDS = 30.0
"""How long an API server that does not answer is asked again."""


class Subject(NamedTuple):
    """What to follow."""

    resource: Resource
    namespace: str | None
    selector: str = ""
    name: str = ""


class Follower:
    """`with Follower(client, subject, ...) as follower:`; `objects(i)` are those of the i-th subject."""

    def __init__(self, client: "Client", *subjects: Subject) -> None:
        self._client = client
        self._subjects = subjects
        self._objects: list[dict[str, JSON]] = [{} for _ in subjects]
        self._synced = [False] * len(subjects)
        self._watches: dict[int, Watch] = {}
        self._changed = threading.Condition()
        self._news = 0
        self._error: ApiError | None = None
        self._closed = False

    def __enter__(self) -> Self:
        for index in range(len(self._subjects)):
            threading.Thread(target=self._follow, args=(index,), daemon=True).start()
        with self._changed:
            while not all(self._synced) and self._error is None:
                self._changed.wait(TICK_SECONDS)
        self._complain()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for watch in list(self._watches.values()):
            watch.close()

    def objects(self, index: int = 0) -> list[JSON]:
        """By namespace and name."""
        with self._changed:
            found = list(self._objects[index].values())
        return sorted(found, key=lambda raw: (raw["metadata"].get("namespace", ""), raw["metadata"]["name"]))

    def wait(self, seen: int, seconds: float) -> int:
        """Until something changed after `seen`, at most so many seconds; the number of changes so far."""
        with self._changed:
            if self._news == seen and self._error is None:
                self._changed.wait(max(0.0, seconds))
            news = self._news
        self._complain()
        return news

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _follow(self, index: int) -> None:
        silent_since: float | None = None
        while not self._closed:
            try:
                version = self._list(index)
                silent_since = None
                self._watch(index, version)
            except (Unavailable, TooManyRequests) as error:
                silent_since = silent_since or monotonic()
                if not self._synced[index] or monotonic() - silent_since > PATIENCE_SECONDS:
                    self._give_up(error)
                    return
                threading.Event().wait(RETRY_SECONDS)
            except ApiError as error:
                if error.status != 410:
                    self._give_up(error)
                    return
            except CliError as error:  # the kubeconfig was changed meanwhile
                self._give_up(Unavailable(401, "Unauthorized", str(error)))
                return

    def _list(self, index: int) -> str:
        subject = self._subjects[index]
        items, version = self._client.list(
            subject.resource, subject.namespace, selector=subject.selector, name=subject.name
        )
        with self._changed:
            self._objects[index] = {_key(raw): raw for raw in items}
            self._synced[index] = True
            self._tell()
        return version

    def _watch(self, index: int, version: str) -> None:
        subject = self._subjects[index]
        watch = self._client.watch(
            subject.resource, subject.namespace, version, selector=subject.selector, name=subject.name
        )
        self._watches[index] = watch
        for event in watch:
            if event["type"] == "BOOKMARK":
                continue
            with self._changed:
                if event["type"] == "DELETED":
                    self._objects[index].pop(_key(event["object"]), None)
                else:
                    self._objects[index][_key(event["object"])] = event["object"]
                self._tell()

    def _tell(self) -> None:
        self._news += 1
        self._changed.notify_all()

    def _give_up(self, error: ApiError) -> None:
        with self._changed:
            self._error = None if self._closed else error
            self._changed.notify_all()


def _key(raw: JSON) -> str:
    return f"{raw['metadata'].get('namespace', '')}/{raw['metadata']['name']}"


def until(
    session: "Session", found: SetView, judge: Callable[[SetView], Outcome], *, timeout: float | None = None
) -> int:
    """Print what `judge` says whenever that changes, until it has an exit code. TIMED_OUT after `timeout` seconds."""
    session.mind_the_operator()
    deadline = None if timeout is None else monotonic() + timeout
    with Follower(session.client, Subject(SCALE_SETS, found.namespace, name=found.name)) as follower:
        seen, told = -1, ""
        while True:
            there = follower.objects()
            if not there or there[0]["metadata"]["uid"] != found.uid:
                raise CliError(f"ScaleSet {found.namespace}/{found.name} was deleted meanwhile.")
            now = judge(SetView(there[0]))
            if now.text != told:
                told = now.text
                session.say(told)
            if now.code is not None:
                return now.code
            left = TICK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0:
                session.note(f"Timed out after {timeout:g} s. The request stands and may still be carried out.")
                return TIMED_OUT
            seen = follower.wait(seen, min(left, TICK_SECONDS))
