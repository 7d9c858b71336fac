"""Turns: bounded at a time, bounded by tokens, round by set, and none while the server asks for quiet."""

import asyncio
from math import inf

import pytest

from scaleset.kube.rate_limit import LONGEST_PAUSE_SECONDS, FlowControl, Limits, on_behalf_of
from tests.unit.virtual_time import in_virtual_time, now


class Scene:
    """Requests that take `seconds` each, and when each was sent."""

    def __init__(self, *, qps: float = 10.0, burst: int = 5, concurrency: int = 100) -> None:
        self.flow = FlowControl(Limits(qps=qps, burst=burst, concurrency=concurrency), clock=now)
        self.began = now()
        self.sent: list[tuple[str, float]] = []
        self.waits: list[float] = []
        self.under_way = self.most = 0

    async def send(self, name: str, *, write: bool = True, seconds: float = 0.0) -> None:
        async with self.flow.turn(write=write, on_wait=self.waits.append):
            self.sent.append((name, round(now() - self.began, 6)))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(seconds)
            self.under_way -= 1

    def start(
        self, name: str, number: int = 1, *, write: bool = True, seconds: float = 0.0
    ) -> list[asyncio.Task[None]]:
        with on_behalf_of(name):
            return [asyncio.create_task(self.send(name, write=write, seconds=seconds)) for _ in range(number)]

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.sent]

    @property
    def names(self) -> str:
        return "".join(name for name, _ in self.sent)


@in_virtual_time
async def test_a_burst_then_a_write_per_token():
    scene = Scene(qps=10, burst=3)
    await asyncio.gather(*scene.start("a", 6))
    assert scene.times == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3], abs=0.002)
    assert scene.waits == pytest.approx(scene.times, abs=0.002)


@in_virtual_time
async def test_tokens_come_back_in_a_quiet_time_and_not_more_than_the_burst():
    scene = Scene(qps=10, burst=3)
    await asyncio.gather(*scene.start("a", 3))
    await asyncio.sleep(60)
    scene.began = now()
    scene.sent.clear()
    await asyncio.gather(*scene.start("a", 4))
    assert scene.times == pytest.approx([0, 0, 0, 0.1], abs=0.002)


@in_virtual_time
async def test_in_the_long_run_it_is_the_rate_and_no_more():
    scene = Scene(qps=50, burst=1)
    await asyncio.gather(*scene.start("a", 501))
    assert scene.times[-1] == pytest.approx(10, rel=0.01)


@in_virtual_time
async def test_without_a_limit_only_the_number_at_a_time_counts():
    scene = Scene(qps=inf, burst=1, concurrency=4)
    await asyncio.gather(*scene.start("a", 12, seconds=1))
    assert scene.most == 4
    assert scene.times == [0] * 4 + [1] * 4 + [2] * 4


@in_virtual_time
async def test_a_small_set_gets_every_other_token():
    """It came last, and two hundred were waiting."""
    scene = Scene(qps=10, burst=1)
    large = scene.start("L", 200)
    await asyncio.sleep(0.05)
    await asyncio.gather(*scene.start("s", 3))
    assert scene.names == "LLsLsLs"[: len(scene.names)]
    assert max(at for name, at in scene.sent if name == "s") < 0.75
    for task in large:
        task.cancel()
    await asyncio.gather(*large, return_exceptions=True)


@in_virtual_time
async def test_a_small_set_gets_every_other_place_where_requests_are_slow():
    scene = Scene(qps=inf, concurrency=2)
    waiting = scene.start("L", 20, seconds=1)
    await asyncio.sleep(0)
    waiting += scene.start("s", 2, seconds=1)
    await asyncio.gather(*waiting)
    assert [at for name, at in scene.sent if name == "s"] == [1, 2]


@in_virtual_time
async def test_reads_need_no_token():
    scene = Scene(qps=1, burst=1)
    writes = scene.start("w", 3)
    await asyncio.sleep(0)
    await asyncio.gather(*scene.start("r", 5, write=False))
    assert scene.names == "wrrrrr"
    assert now() - scene.began < 0.1
    await asyncio.gather(*writes)


@in_virtual_time
async def test_a_pause_holds_back_everything_and_no_burst_follows_it():
    scene = Scene(qps=10, burst=5)
    scene.flow.pause(3)
    scene.flow.pause(2)
    await asyncio.gather(*scene.start("a", 2), *scene.start("r", 1, write=False))
    assert sorted(scene.times) == pytest.approx([3, 3.1, 3.2], abs=0.002)


@in_virtual_time
async def test_a_pause_without_a_limit_of_writes():
    scene = Scene(qps=inf)
    scene.flow.pause(3)
    await asyncio.gather(*scene.start("a", 2))
    assert scene.times == pytest.approx([3, 3], abs=0.002)


@in_virtual_time
async def test_whoever_asks_for_a_very_long_pause_is_asked_again():
    scene = Scene()
    scene.flow.pause(3600)
    await asyncio.gather(*scene.start("a"))
    assert scene.times == pytest.approx([LONGEST_PAUSE_SECONDS + 0.1], abs=0.002)


@in_virtual_time
async def test_whoever_is_cancelled_leaves_its_place_to_the_next():
    scene = Scene(qps=inf, concurrency=1)
    first = scene.start("a", 1, seconds=5)
    await asyncio.sleep(0)
    waiting = scene.start("b", 3)
    await asyncio.sleep(1)
    waiting[0].cancel()
    first[0].cancel()
    waiting[1].cancel()
    await asyncio.gather(*waiting[2:])
    assert scene.names == "ab"
    await asyncio.gather(*scene.start("c", 2))
    assert scene.names == "abcc"


@in_virtual_time
async def test_one_that_is_cancelled_between_its_turn_and_its_next_step_gives_it_back():
    scene = Scene(qps=inf, concurrency=1)
    async with scene.flow.turn(write=True):
        second, third = scene.start("b", 2)
        await asyncio.sleep(1)
    second.cancel()
    await third
    assert second.cancelled()
    assert scene.names == "b"
    assert scene.flow._free == 1


@in_virtual_time
async def test_an_error_inside_gives_the_place_back():
    scene = Scene(qps=inf, concurrency=1)
    with pytest.raises(ValueError, match="inside"):
        async with scene.flow.turn(write=True):
            raise ValueError("inside")
    await asyncio.gather(*scene.start("a"))
    assert scene.names == "a"
