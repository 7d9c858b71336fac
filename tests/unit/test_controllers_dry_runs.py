"""What a pod counts for in a quota."""

from decimal import Decimal
from typing import Any

import pytest

from scaleset.kube.verdicts import requested


def container(requests: Any = None, limits: Any = None) -> Any:
    resources = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    return {"name": "c", "resources": resources}


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        ({}, {}),
        ({"containers": [{}]}, {}),
        ({"containers": [container({"cpu": "250m"})]}, {"requests.cpu": "0.25"}),
        ({"containers": [container({"cpu": "250m"}), container({"cpu": "1"})]}, {"requests.cpu": "1.25"}),
        (
            {"containers": [container(limits={"memory": "1Gi"})]},
            {"requests.memory": str(2**30), "limits.memory": str(2**30)},
        ),
        (
            {"containers": [container({"memory": "1Mi"}, {"memory": "2Mi"})]},
            {"requests.memory": str(2**20), "limits.memory": str(2**21)},
        ),
        (
            {
                "containers": [container({"cpu": "1"}), container({"cpu": "1"})],
                "initContainers": [container({"cpu": "3"})],
            },
            {"requests.cpu": "3"},
        ),
        (
            {
                "containers": [container({"cpu": "2"}), container({"cpu": "2"})],
                "initContainers": [container({"cpu": "3"})],
            },
            {"requests.cpu": "4"},
        ),
        ({"containers": [container({"cpu": 1})], "initContainers": None}, {"requests.cpu": "1"}),
        ({"containers": [container({"example.com/gpu": "2"})]}, {"requests.example.com/gpu": "2"}),
    ],
)
def test_requested(spec, counts):
    assert requested(spec) == {name: Decimal(amount) for name, amount in counts.items()}
