"""Which nodes pull an image next, and how far each region is.

A region is Completed when every usable node of it (Ready, schedulable, of the image's operating system) has the image.
Completed is latched: it is read back from the status, and nodes that are added later do not revert it. A node that goes
away is not waited for. At most PER_VERSION pods of a version pull at a time and OVERALL of all versions; nodes that
were never tried come first, so one broken node does not delay the others.

Without named regions, the targets are every region with nodes, and `default`. Sets without a location belong to
`default` and may run on any node, so without nodes of its own `default` is Completed when all other regions are.

The ledger is kept in memory and may be lost with the process: nodes that list the image in their status need no second
pod, and a second pull on the others ends at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import nsmallest
from typing import Literal, NamedTuple

from scaleset.planner.gallery import DEFAULT_REGION
from scaleset.planner.instances import Observed

PER_VERSION = 5
OVERALL = 20
PATIENCE = 60.0
"""Seconds of failing pulls after which a node counts as failed: kubelets retry by themselves."""
FIRST_RETRY = 30.0
LAST_RETRY = 900.0
ROOM_SECONDS = 5.0
"""Seconds until the next look while the pods of other versions take all the room."""

RegionState = Literal["Unknown", "Replicating", "Completed", "Failed"]
Aggregate = Literal["Unknown", "InProgress", "Completed", "Failed"]


@dataclass(frozen=True, slots=True)
class Node:
    """The fields of a node that replication needs. `images` are the listed images that some version asks for."""

    name: str
    uid: str
    resource_version: str
    region: str
    os: str = "linux"
    ready: bool = True
    schedulable: bool = True
    images: frozenset[str] = frozenset()
    namespace: str = ""


class Stage(StrEnum):
    """How far a pod has come."""

    UNSCHEDULED = "unscheduled"
    PULLING = "pulling"
    TROUBLED = "troubled"
    """The pull went wrong; the kubelet tries again."""
    PULLED = "pulled"
    ENDED = "ended"
    """It ended without the image."""


@dataclass(frozen=True, slots=True)
class Prepull(Observed):
    """A pod that pulls an image onto a node; `version` and `node` are uids, `message` is what Kubernetes says."""

    version: str
    node: str
    version_namespace: str = ""
    deleting: bool = False
    stage: Stage = Stage.UNSCHEDULED
    message: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """One entry of the summary in the status."""

    name: str
    state: RegionState
    progress: int = 0
    """Percent of its usable nodes that have the image."""
    details: str = ""


class Failure(NamedTuple):
    """The last failure of a node, the number of failures, and the time of the next try."""

    attempts: int
    message: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """The operator's memory of one version; keys are node uids."""

    done: frozenset[str] = frozenset()
    failures: Mapping[str, Failure] = field(default_factory=dict)
    troubled: Mapping[str, float] = field(default_factory=dict)
    """Since when the pull onto a node has been failing."""
    refused: Failure | None = None
    """The API server would not create a pod."""
    inherited: frozenset[str] | None = None
    """Regions that an earlier process left as Failed; they stay Failed until all their nodes were tried again."""


@dataclass(frozen=True, slots=True)
class View:
    """One version and everything that its replication depends on. `regions` are the targets, empty for every region."""

    image: str
    os: str
    regions: tuple[str, ...]
    reported: Mapping[str, Region]
    nodes: Sequence[Node]
    pods: Sequence[Prepull]
    now: float
    room: int = OVERALL
    ledger: Ledger = Ledger()


@dataclass(frozen=True, slots=True)
class Replication:
    """The result: pods to create and delete, and the status to write."""

    summary: tuple[Region, ...]
    create: tuple[Node, ...] = ()
    delete: tuple[Prepull, ...] = ()
    ledger: Ledger = Ledger()
    wake_at: float | None = None
    problem: str = ""
    """Why the nodes are not known."""

    @property
    def aggregate(self) -> Aggregate:
        states = {region.state for region in self.summary}
        if "Failed" in states:
            return "Failed"
        if "Replicating" in states:
            return "InProgress"
        return "Completed" if states == {"Completed"} else "Unknown"


def image_names(image: str) -> frozenset[str]:
    """Names under which a node may list the image: as written, and by its digest without the tag."""
    repository, at, digest = image.partition("@")
    if not at:
        return frozenset((image,))
    path, slash, last = repository.rpartition("/")
    return frozenset((image, f"{path}{slash}{last.partition(':')[0]}@{digest}"))


def after(failure: Failure | None, message: str, *, now: float) -> Failure:
    """The record after one more failure."""
    attempts = failure.attempts + 1 if failure is not None else 1
    return Failure(attempts, message, now + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(attempts - 1, 10)))


def decide_replication(view: View) -> Replication:
    """The pods to create and delete, the status, and the time of the next look."""
    usable = _usable(view, (name for name in _targets(view) if not _latched(view, name)))
    ledger, kept, wakes = _judge(view, usable)
    inherited = view.ledger.inherited
    if inherited is None:
        inherited = frozenset(name for name in usable if name in view.reported)
        inherited = frozenset(name for name in inherited if view.reported[name].state == "Failed")
    ledger = replace(ledger, inherited=frozenset(n for n in inherited if _unasked(usable.get(n, ()), ledger)))
    create, more = _next(view, usable, ledger)
    wakes += more
    return Replication(
        summary=_summary(view, {name: _region(view, name, nodes, ledger) for name, nodes in usable.items()}),
        create=tuple(create),
        delete=tuple(pod for pod in view.pods if pod.uid not in kept and not pod.deleting),
        ledger=ledger,
        wake_at=min(wakes, default=None),
    )


def without_nodes(view: View, problem: str, *, delete: bool) -> Replication:
    """The result while the nodes are not known: Completed regions stay Completed."""
    summary = (
        view.reported[name] if _latched(view, name) else Region(name, "Unknown", 0, problem) for name in _targets(view)
    )
    return Replication(
        summary=tuple(summary),
        delete=tuple(pod for pod in view.pods if not pod.deleting) if delete else (),
        ledger=view.ledger,
        problem=problem,
    )


def _latched(view: View, region: str) -> bool:
    return region in view.reported and view.reported[region].state == "Completed"


def _targets(view: View) -> tuple[str, ...]:
    if view.regions:
        return view.regions
    found = {node.region for node in view.nodes if node.os == view.os and node.schedulable}
    kept = {name for name in view.reported if _latched(view, name)}
    return (*sorted((found | kept) - {DEFAULT_REGION}), DEFAULT_REGION)


def _usable(view: View, regions: Iterable[str]) -> dict[str, list[Node]]:
    usable: dict[str, list[Node]] = {name: [] for name in regions}
    for node in view.nodes:
        if node.region in usable and node.ready and node.schedulable and node.os == view.os:
            usable[node.region].append(node)
    return usable


def _judge(view: View, usable: Mapping[str, Sequence[Node]]) -> tuple[Ledger, set[str], list[float]]:
    """The result of each node, the pods that continue, and when to judge these again."""
    names, before, pods = image_names(view.image), view.ledger, {pod.node: pod for pod in view.pods}
    alive = {node.uid for node in view.nodes}
    done = set(before.done & alive)
    failures = {uid: failure for uid, failure in before.failures.items() if uid in alive}
    troubled: dict[str, float] = {}
    kept: set[str] = set()
    wakes: list[float] = []
    for node in (node for nodes in usable.values() for node in nodes):
        pod = pods.get(node.uid)
        pulled = pod is not None and pod.stage is Stage.PULLED
        if node.uid in done or pulled or not names.isdisjoint(node.images):
            done.add(node.uid)
            failures.pop(node.uid, None)
        elif pod is None or pod.deleting:
            continue
        elif pod.stage is Stage.PULLING:
            kept.add(pod.uid)
        else:
            since = before.troubled.get(node.uid, view.now)
            if pod.stage is Stage.ENDED or view.now - since >= PATIENCE:
                failures[node.uid] = after(failures.get(node.uid), pod.message, now=view.now)
            else:
                troubled[node.uid] = since
                kept.add(pod.uid)
                wakes.append(since + PATIENCE)
    ledger = Ledger(frozenset(done), failures, troubled, refused=before.refused)
    return ledger, kept, wakes


def _unasked(nodes: Iterable[Node], ledger: Ledger) -> bool:
    return any(node.uid not in ledger.done and node.uid not in ledger.failures for node in nodes)


def _next(view: View, usable: Mapping[str, Sequence[Node]], ledger: Ledger) -> tuple[list[Node], list[float]]:
    """Nodes to pull onto now: regions in order, and nodes never tried before any retry."""
    busy = {pod.node for pod in view.pods}
    rank = {name: index for index, name in enumerate(usable)}
    idle = [node for nodes in usable.values() for node in nodes if node.uid not in ledger.done and node.uid not in busy]
    due = [node for node in idle if _retry_at(node, ledger) <= view.now]
    wakes = [at for node in idle if (at := _retry_at(node, ledger)) > view.now]
    free = PER_VERSION - len(view.pods)
    if ledger.refused is not None:
        # A refusal of one pod applies to the others as well: try with one pod.
        free = min(free, 1)
        if view.now < ledger.refused.retry_at:
            free = 0
            wakes = [ledger.refused.retry_at] if idle else []
    if len(due) > view.room and free > view.room:
        wakes.append(view.now + ROOM_SECONDS)

    def order(node: Node) -> tuple[float, int, str]:
        return _retry_at(node, ledger), rank[node.region], node.name

    return nsmallest(max(0, min(free, view.room)), due, key=order), wakes


def _retry_at(node: Node, ledger: Ledger) -> float:
    failure = ledger.failures.get(node.uid)
    return failure.retry_at if failure is not None else 0.0


def _region(view: View, name: str, nodes: Sequence[Node], ledger: Ledger) -> Region:
    total, have = len(nodes), sum(node.uid in ledger.done for node in nodes)
    if not total:
        return Region(name, "Unknown", 0, _nobody(view, name))
    progress = 100 * have // total
    if have == total:
        return Region(name, "Completed", progress, f"{_count(total)} the image.")
    failed = sorted((node.name, node.uid) for node in nodes if node.uid in ledger.failures)
    if failed:
        first, uid = failed[0]
        text = f"{len(failed)} of {total} nodes could not pull the image and will be asked again. {first}: "
        return Region(name, "Failed", progress, text + (ledger.failures[uid].message or "no reason was given"))
    if ledger.refused is not None:
        text = f"The pod that pulls the image was refused and will be tried again: {ledger.refused.message}"
        return Region(name, "Failed", progress, text)
    if name in (ledger.inherited or ()):
        return Region(name, "Failed", progress, view.reported[name].details)
    return Region(name, "Replicating", progress, f"{have} of {total} nodes have the image.")


def _nobody(view: View, name: str) -> str:
    nodes = [node for node in view.nodes if node.region == name]
    if not nodes:
        return "No node is in this region."
    mine = [node for node in nodes if node.os == view.os]
    if not mine:
        return f"No node of this region runs {view.os}."
    return f"None of the {len(mine)} nodes of this region is Ready and schedulable."


def _count(total: int) -> str:
    return "1 node has" if total == 1 else f"{total} nodes have"


def _summary(view: View, judged: Mapping[str, Region]) -> tuple[Region, ...]:
    regions = [judged.get(name) or view.reported[name] for name in _targets(view)]
    if view.regions or regions[-1].state == "Completed":
        return tuple(regions)
    others = regions[:-1]
    mine = (node for node in view.nodes if node.os == view.os and node.schedulable)
    if not others or any(node.region == DEFAULT_REGION for node in mine):
        return tuple(regions)
    if all(region.state == "Completed" for region in others):
        return (*others, Region(DEFAULT_REGION, "Completed", 100, "Every region has the image."))
    progress = min(region.progress for region in others)
    return (*others, Region(DEFAULT_REGION, "Replicating", progress, "No node is in this region: it waits for all."))
