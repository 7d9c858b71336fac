"""Annotations of ours with values that nobody sane would write: handled once, told in one line, and nothing else."""

import pytest

from tests.cluster.harness.api import EVENTS, SCALE_SETS
from tests.cluster.harness.desk import Desk
from tests.cluster.harness.fleet import uids, wait_ready
from tests.cluster.harness.manifests import scale_set

pytestmark = pytest.mark.timeout(180)


HOSTILE = [
    ("apply-model", "0-999999999", "InvalidSpec"),
    ("apply-model", "9" * 1000, "InvalidSpec"),
    ("apply-model", "-1", "InvalidSpec"),
    ("apply-model", "0,,;DROP TABLE", "InvalidSpec"),
    ("apply-model", "\u202e\x1b[31m\r\n\u0000".replace("\u0000", ""), "InvalidSpec"),
    ("apply-model", "²", "InvalidSpec"),
    ("apply-model", "1" + ",1" * 100_000, None),
    ("start-upgrade-at", "x" * 200_000, None),
    ("start-upgrade-at", "\u202e\x1b[31mred\r\nnext line", None),
    ("cancel-upgrade-at", "y" * 200_000, None),
    ("cancel-upgrade-at", "", None),
]


@pytest.mark.parametrize(("annotation", "value", "event"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_annotations_are_handled_once(desk: Desk, annotation: str, value: str, event: str | None) -> None:
    """No crash, no loop, no pod touched; what is wrong is told in one line."""
    name = f"hostile-{HOSTILE.index((annotation, value, event))}"
    desk.create(scale_set(name, replicas=2))
    wait_ready(desk.recorder, name)
    before = uids(desk.recorder.world, name)
    patch = {"metadata": {"annotations": {f"scaleset.dev/{annotation}": value}}}
    desk.api.patch(SCALE_SETS, desk.namespace, name, patch)
    key = {"apply-model": "Apply", "start-upgrade-at": "Start", "cancel-upgrade-at": "Cancel"}[annotation]
    desk.recorder.wait_for(
        lambda world: f"lastHandled{key}" in world.status(name), timeout=10, message=f"{annotation} is handled"
    )
    desk.recorder.never(lambda world: uids(world, name) != before, seconds=1, message="an annotation made pods go")
    told = [each for each in desk.api.list(EVENTS, desk.namespace) if each["regarding"]["name"] == name]
    if event is not None:
        assert [each for each in told if each["reason"] == event]
    assert all(ord(char) >= 32 and char not in "\x7f\u202e" for each in told for char in each["note"])
    assert all(ord(char) >= 32 and char != "\u202e" for char in desk.operator.log().replace("\n", ""))
    size = len(str(desk.recorder.world.status(name)))
    assert size < 10_000
    desk.api.delete(SCALE_SETS, desk.namespace, name)
