"""One run for all who asked before it began; never one that began before somebody asked."""

import asyncio

import pytest

from scaleset.controllers.custom_objects import Rounds


class Runs:
    """Runs that end when the test says so."""

    def __init__(self, *, patience: float = 60.0) -> None:
        self.begun: list[asyncio.Future[None]] = []
        self.keys: list[str] = []
        self._news: asyncio.Queue[str] = asyncio.Queue()
        self.rounds = Rounds(self._run, patience=patience)

    async def _run(self, key: str) -> None:
        ended = asyncio.get_running_loop().create_future()
        self.begun.append(ended)
        self.keys.append(key)
        self._news.put_nowait(key)
        await ended

    def ask(self, key: str = "a") -> "asyncio.Task[None]":
        return asyncio.create_task(self.rounds.ask(key))

    async def wait(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.begun) < number:
                await self._news.get()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(self.begun) == number


async def test_those_who_ask_together_share_one_and_those_who_ask_meanwhile_the_next():
    runs = Runs()
    first = [runs.ask() for _ in range(3)]
    await runs.wait(1)
    late = [runs.ask() for _ in range(3)]
    await runs.wait(1)
    runs.begun[0].set_result(None)
    await asyncio.gather(*first)
    await runs.wait(2)
    assert not any(task.done() for task in late), "theirs began after they asked, and goes on"
    later = runs.ask()
    await runs.wait(2)
    runs.begun[1].set_result(None)
    await asyncio.gather(*late)
    await runs.wait(3)
    assert not later.done()
    runs.begun[2].set_result(None)
    await later


async def test_what_has_another_key_waits_for_nothing():
    runs = Runs()
    tasks = [runs.ask("a"), runs.ask("b")]
    await runs.wait(2)
    assert runs.keys == ["a", "b"]
    runs.begun[1].set_result(None)
    await tasks[1]
    runs.begun[0].set_result(None)
    await tasks[0]


async def test_all_get_the_error_and_the_next_begins_anew():
    runs = Runs()
    tasks = [runs.ask(), runs.ask()]
    await runs.wait(1)
    late = runs.ask()
    await runs.wait(1)
    runs.begun[0].set_exception(ZeroDivisionError())
    for task in tasks:
        with pytest.raises(ZeroDivisionError):
            await task
    await runs.wait(2)
    runs.begun[1].set_result(None)
    await late


async def test_one_who_gives_up_takes_nothing_from_the_others():
    runs = Runs()
    impatient, patient = runs.ask(), runs.ask()
    await runs.wait(1)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    runs.begun[0].set_result(None)
    await patient


async def test_a_run_that_hangs_holds_nobody_up_for_long():
    runs = Runs(patience=0.01)
    hangs = runs.ask()
    await runs.wait(1)
    late = runs.ask()
    await runs.wait(2)
    runs.begun[1].set_result(None)
    await late
    assert not hangs.done()
    runs.begun[0].set_result(None)
    await hangs
    again = runs.ask()
    await runs.wait(3)
    runs.begun[2].set_result(None)
    await again
