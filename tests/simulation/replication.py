"""Nodes, the pods that pull an image on them, and what a plan says of them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from scaleset.planner.replication import Ledger, Node, Prepull, Region, Replication, Stage, View

NOW = 1_000_000.0
IMAGE = "example.com/web:1.2.0"


def node(name: str, region: str = "west", **changes: Any) -> Node:
    """A Ready node."""
    return replace(Node(name, f"uid-{name}", "1", region), **changes)


def nodes(count: int, region: str = "west") -> tuple[Node, ...]:
    """So many nodes of one region."""
    return tuple(node(f"{region}-{n:04}", region) for n in range(count))


def pod(of: Node, stage: Stage = Stage.PULLING, **changes: Any) -> Prepull:
    """A pod that pulls on that node."""
    made = Prepull("ops", f"prepull-{of.name}", f"pod-{of.name}", "1", "version", of.uid, stage=stage)
    return replace(made, **changes)


def view(*given_nodes: Node, **changes: Any) -> View:
    """What is known of a version for region west that nobody has pulled."""
    empty = View(image=IMAGE, os="linux", regions=("west",), reported={}, nodes=given_nodes, pods=(), now=NOW)
    return replace(empty, **changes)


def names(found: Iterable[Node]) -> list[str]:
    return [each.name for each in found]


def only(plan: Replication) -> Region:
    """The one region that the plan speaks of."""
    (region,) = plan.summary
    return region


def has(*these: Node) -> Ledger:
    """Those nodes have the image."""
    return Ledger(done=frozenset(each.uid for each in these))
