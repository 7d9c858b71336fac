"""Pods as the planner writes them."""

from typing import Any

from scaleset.planner import pod_builder, revisions
from scaleset.planner.instances import Build
from scaleset.planner.pod_builder import Identity
from tests.simulation.world import spec

OWNER = Identity("shop", "web", "uid-web")
IMAGE = "example.com/web:1.0.0"

Json = dict[str, Any]


def rendered(*, number: int = 0, **changes: Any) -> Json:
    """The pod of an instance of a set with those fields."""
    model = revisions.describe(OWNER.name, spec(**{"replicas": 1, **changes}))
    return pod_builder.pod(
        OWNER, model, Build(model.name, "1.0.0", IMAGE), number, previous=None, created_at=1_800_000_000.0
    )
