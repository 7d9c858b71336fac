"""The logs of a set's instances, as `kubectl logs` shows those of a pod."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

from kubectl_scaleset import changes
from kubectl_scaleset.failures import FAILED, CliError, explain
from kubectl_scaleset.options import Flag, Name, OptionalIds
from kubectl_scaleset.session import Session
from scaleset.kube.errors import ApiError
from scaleset.kube.resources import JSON

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import InstanceView, SetView

MOST_FOLLOWED = 50
"""Most instances that are followed at once: each takes a connection and a thread."""
LINES_OF_MANY = 10
"""Lines of each instance, if there are several and --tail does not say it."""

Failed = Annotated[
    bool, Flag(("--failed",), "Only instances that are not healthy, or that failed in the shown rollout.")
]
Previous = Annotated[bool, Flag(("--previous", "-p"), "Logs of the container before its last restart.")]
Follow = Annotated[bool, Flag(("--follow", "-f"), "Go on with what is written from now on.")]
Container = Annotated[
    str | None, Flag(("--container", "-c"), "Container; default: the one that runs the version.", metavar="CONTAINER")
]
Tail = Annotated[
    int | None,
    Flag(
        ("--tail",), f"Last lines of each; default: all of one instance, {LINES_OF_MANY} of several.", metavar="LINES"
    ),
]


@dataclass(frozen=True, slots=True)
class Lines:
    """What is read of each log. A verb that takes one has its flags."""

    previous: Previous = False
    follow: Follow = False
    container: Container = None
    tail: Tail = None

    def query(self, sources: int) -> dict[str, str]:
        """The request for the log of one of so many."""
        last = self.tail if self.tail is not None else LINES_OF_MANY if sources > 1 else None
        asked = {"previous": "true"} if self.previous else {}
        return asked if last is None else {**asked, "tailLines": str(last)}


@dataclass(frozen=True, slots=True)
class Source:
    """One container's log. `label` stands before each line; empty for a single instance."""

    label: str
    pod: str
    container: str


def logs(session: Session, name: Name, lines: Lines, ids: OptionalIds = None, failed: Failed = False) -> int:
    """Print the logs of instances: all, the named ones, or those that failed.

    The log of a pod is gone with the pod: --failed shows what replaced instances write now. -f ends by ctrl-C.
    """
    found = session.scale_set(name)
    pods = {str(raw["metadata"]["name"]): raw for raw in session.pods(found)}
    chosen = _chosen(session, found, pods.values(), ids=ids, failed=failed)
    if not chosen:
        session.note(f"{name}: every instance is healthy, none failed." if failed else f"{name} has no instances.")
        return 0
    sources = []
    for row in chosen:
        if row.name not in pods:
            session.note(f"{row.name} has no pod: {row.message or row.health}.")
            continue
        picked = _container(found, pods[row.name], lines.container)
        sources.append(Source(row.name if len(chosen) > 1 else "", row.name, picked))
    if lines.follow and len(sources) > MOST_FOLLOWED:
        raise CliError(f"{len(sources)} instances are too many to follow at once: name at most {MOST_FOLLOWED}.")
    query = lines.query(len(sources))
    return _follow(session, found, sources, query) if lines.follow else _print(session, found, sources, query)


def _chosen(
    session: Session, found: "SetView", pods: Iterable[JSON], *, ids: list[str] | None, failed: bool
) -> "list[InstanceView]":
    from kubectl_scaleset import pictures

    wanted = changes.known(found, ids) if ids else None
    rows = pictures.instances(found, pods, now=session.client.now())
    if wanted is not None:
        rows = [row for row in rows if row.id in wanted]
    return [row for row in rows if row.health != "Healthy" or row.failure] if failed else rows


def _container(found: "SetView", pod: JSON, asked: str | None) -> str:
    """The named container, else the instance container, else the pod's first one."""
    spec = pod.get("spec") or {}
    there = [str(each["name"]) for kind in ("containers", "initContainers") for each in spec.get(kind) or ()]
    if asked is not None and asked not in there:
        raise CliError(f"{pod['metadata']['name']} has no container {asked}: it has {', '.join(there)}.")
    return asked or str(found.spec.get("instanceContainer") or there[0])


def _query(source: Source, query: dict[str, str]) -> dict[str, str]:
    return {"container": source.container, **query}


def _print(session: Session, found: "SetView", sources: list[Source], query: dict[str, str]) -> int:
    code = 0
    for source in sources:
        try:
            with session.client.log(found.namespace, source.pod, _query(source, query)) as log:
                for line in log:
                    session.say(_line(source, line))
        except ApiError as error:
            session.note(f"{source.pod}: {explain(error, server=session.server)}")
            code = FAILED
    return code


def _follow(session: Session, found: "SetView", sources: list[Source], query: dict[str, str]) -> int:
    """All at once, until each log has ended: its container stopped."""
    session.mind_the_operator()
    spoken: SimpleQueue[tuple[str | None, ApiError | None]] = SimpleQueue()

    def read(source: Source) -> None:
        try:
            with session.client.log(found.namespace, source.pod, {**_query(source, query), "follow": "true"}) as log:
                for line in log:
                    spoken.put((_line(source, line), None))
            spoken.put((None, None))
        except ApiError as error:
            spoken.put((None, error))

    for source in sources:
        threading.Thread(target=read, args=(source,), daemon=True).start()
    code, left = 0, len(sources)
    while left:
        line, error = spoken.get()
        if line is not None:
            session.say(line)
            continue
        left -= 1
        if error is not None:
            session.note(explain(error, server=session.server))
            code = FAILED
    return code


def _line(source: Source, line: str) -> str:
    return f"[{source.label}] {line}" if source.label else line
