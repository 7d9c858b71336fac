"""What `delete-instances` writes: the new size and the list of what goes first."""

from typing import Any

import pytest

from kubectl_scaleset import waits
from kubectl_scaleset.deleting import removal
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.pictures import SetView


def seen(instances: str = "0-9", *, replicas: int = 10, rollout: dict[str, Any] | None = None, **spec: Any) -> SetView:
    status = {"observedGeneration": 2, "builds": [{"instances": instances}], "rollingUpgrade": rollout or {}}
    metadata = {"name": "web", "namespace": "shop", "uid": "uid", "generation": 2}
    return SetView({"metadata": metadata, "spec": {"replicas": replicas, **spec}, "status": status})


def preferring(*ids: int) -> dict[str, Any]:
    return {"scaleInPolicy": {"rules": ["OldestVM"], "preferredInstances": list(ids)}}


@pytest.mark.parametrize(
    ("found", "chosen", "written"),
    [
        (seen(), {7, 3}, (8, (3, 7))),
        (seen(**preferring(5)), {3}, (9, (3,))),
        (seen(replicas=9, **preferring(5)), {3}, (8, (5, 3))),
        (seen(replicas=8, **preferring(5, 7, 9)), {3}, (7, (5, 7, 3))),
        (seen(replicas=9, **preferring(5)), {3, 5}, (8, (5, 3))),
        (seen(replicas=9, **preferring(77)), {3}, (8, (3,))),
        (seen("0-4", replicas=5), {0, 1, 2, 3, 4}, (0, (0, 1, 2, 3, 4))),
    ],
    ids=[
        "two of ten",
        "an earlier list that is done with",
        "an earlier one is still to go",
        "two of three earlier ones are still to go",
        "one of them was asked for before",
        "an id without an instance",
        "all",
    ],
)
def test_what_is_written(found, chosen, written):
    asked = removal(found, frozenset(chosen))
    assert (asked.replicas, asked.preferred) == written


def test_the_same_once_more_writes_nothing():
    """A call that timed out may be repeated: no further instance goes."""
    assert removal(seen(replicas=9, **preferring(5)), frozenset({5})).new == frozenset()


@pytest.mark.parametrize("how", ["protectFromScaleIn", "protectFromScaleSetActions"])
def test_protected_instances_are_refused(how):
    found = seen(protectedInstances=[{"id": 3, how: True}, {"id": 4, "protectFromScaleIn": False}])
    with pytest.raises(CliError, match="passes over protected instances, and 3 is protected"):
        removal(found, frozenset({3, 4}))
    assert removal(found, frozenset({4})).replicas == 9


def test_a_successor_that_runs_beside_the_old_instance_is_refused():
    batch = {"number": 1, "surge": "10-11", "replaces": "0-1"}
    running = {"runningStatus": {"code": "RollingForward"}, "batch": batch}
    found = seen("0-11", rollout=running)
    with pytest.raises(CliError, match="10 is in the running batch, in place of instances that still run"):
        removal(found, frozenset({10}))
    assert removal(found, frozenset({0})).replicas == 9
    ended = seen("2-11", rollout={**running, "runningStatus": {"code": "Completed"}})
    assert removal(ended, frozenset({10})).replicas == 9


def test_more_than_the_set_is_to_have_is_refused():
    with pytest.raises(CliError, match="web is to have 1 instances, so 2 more cannot be removed"):
        removal(seen(replicas=1), frozenset({3, 4}))


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (seen(), None),
        (seen("0-2,4-9", replicas=9), 0),
        (SetView({**seen("0-2").raw, "status": {**seen("0-2").status, "scaleIn": {"from": 10}}}), None),
        (SetView({**seen("0-2").raw, "metadata": {**seen().raw["metadata"], "generation": 3}}), None),
    ],
    ids=["still there", "gone", "its pod still ends", "not seen yet"],
)
def test_the_wait_ends_when_the_instances_are_gone(now, code):
    assert waits.gone(now, frozenset({3})).code == code
