"""Slow start: what goes well is done more at a time, what does not is not done a thousand times."""

import asyncio
from functools import partial

import pytest

from scaleset.controllers.slow_start import Pace
from scaleset.kube.rate_limit import CONCURRENCY
from tests.unit.virtual_time import in_virtual_time, now


class Scene:
    """Calls that take a second each; those whose number is in `refused` fail."""

    def __init__(self, *refused: int) -> None:
        self.pace = Pace()
        self.refused = refused
        self.began: list[tuple[int, float]] = []

    async def call(self, number: int) -> int:
        self.began.append((number, now() - 1000.0))
        await asyncio.sleep(1)
        if number in self.refused:
            raise ValueError(number)
        return number

    async def run(self, *numbers: int, stops: bool = True) -> list[int | Exception]:
        calls = [partial(self.call, number) for number in numbers]
        return await self.pace.run(
            calls,
            failed=lambda result: isinstance(result, Exception),
            stops=lambda r: stops and isinstance(r, Exception),
        )

    def rounds(self) -> list[int]:
        """How many were begun in each second."""
        seconds = [int(at) for _, at in self.began]
        return [seconds.count(second) for second in sorted(set(seconds))]


@in_virtual_time
async def test_one_two_four_eight():
    scene = Scene()
    assert await scene.run(*range(60)) == list(range(60))
    assert scene.rounds() == [1, 2, 4, 8, 16, CONCURRENCY, 5]


@in_virtual_time
async def test_the_next_time_it_goes_on_as_fast():
    scene = Scene()
    await scene.run(*range(60))
    scene.began.clear()
    await scene.run(*range(20))
    assert scene.rounds() == [20]


@in_virtual_time
async def test_a_thousand_that_are_refused_are_one_request():
    scene = Scene(*range(1000))
    results = await scene.run(*range(1000))
    assert len(results) == len(scene.began) == 1
    assert isinstance(results[0], ValueError)


@in_virtual_time
async def test_after_an_error_no_more_are_begun_but_those_under_way_are_waited_for():
    scene = Scene(4)
    results = await scene.run(*range(1000))
    assert results[:4] == [0, 1, 2, 3]
    assert isinstance(results[4], ValueError)
    assert results[5:] == [5, 6]
    assert await scene.run(7, 8, 9) == [7, 8, 9]


@in_virtual_time
async def test_after_an_error_it_begins_with_one_again():
    scene = Scene(30)
    await scene.run(*range(31))
    scene.began.clear()
    await scene.run(40, 41, 42)
    assert scene.rounds() == [1, 2]


@in_virtual_time
async def test_errors_that_stop_nothing_slow_down():
    scene = Scene(*range(4))
    results = await scene.run(*range(6), stops=False)
    assert [isinstance(result, ValueError) for result in results] == [True] * 4 + [False] * 2
    assert scene.rounds() == [1] * 6


@in_virtual_time
async def test_nothing_to_do():
    assert await Scene().run() == []


@in_virtual_time
async def test_cancelled_it_leaves_nothing_running():
    scene = Scene()
    running = asyncio.create_task(scene.run(*range(10)))
    await asyncio.sleep(1.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    begun = len(scene.began)
    await asyncio.sleep(5)
    assert len(scene.began) == begun == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}
