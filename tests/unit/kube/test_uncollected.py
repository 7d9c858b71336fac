"""The garbage collector stays out of lists, and does not walk for ever what the first ones have left."""

import gc

from scaleset.kube.client import UNCOLLECTED, Client
from scaleset.kube.resources import PODS
from tests.scale.fleet import Fleet
from tests.scale.stand_in import StandIn

FLEET = Fleet(sets=12, instances=3, namespaces=2, policies=4, definitions=3, versions=4, followers=5)


async def test_nothing_is_collected_while_a_list_is_read():
    client = Client(StandIn(FLEET))
    assert gc.isenabled()
    collecting = [gc.isenabled() async for _ in client.pages(PODS, None, limit=10)]
    assert collecting == [False] * 4
    assert gc.isenabled()


def test_what_a_long_list_leaves_is_set_aside_once():
    before = gc.get_freeze_count()
    try:
        with UNCOLLECTED:
            with UNCOLLECTED:
                kept = [[number] for number in range(150_000)]
            assert gc.get_freeze_count() == before
        aside = gc.get_freeze_count()
        assert aside - before >= len(kept)
        with UNCOLLECTED:
            assert kept
        assert gc.get_freeze_count() == aside
    finally:
        gc.unfreeze()
