"""The operator, with every callback of its event loops timed: `python -m tests.scale.instrumented` in place of
`python -m scaleset`.

What took longer than 20 ms of processor time is appended to the file that SCALE_CALLBACKS names, one JSON object a
line: {"at": monotonic seconds of the end, "cpu": seconds of the thread, "wall": seconds, "what": task and function}.
Processor time, since on a machine that does other things as well nobody else's share counts as a block of ours.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

from scaleset.__main__ import main

LONG_SECONDS = 0.02


def what(handle: asyncio.Handle) -> str:
    """The task and the function where it waits now, which is where the long part ended."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(callback)[:120]
    coroutine: Any = task.get_coro()
    while getattr(coroutine, "cr_await", None) is not None and hasattr(coroutine.cr_await, "cr_code"):
        coroutine = coroutine.cr_await
    return f"{task.get_name()}: {getattr(coroutine, '__qualname__', coroutine)}"


@contextmanager
def timed_callbacks(report: Callable[[float, float, asyncio.Handle], None]) -> Iterator[None]:
    """Report the processor seconds and the seconds of every callback of all event loops."""
    run = asyncio.Handle._run  # the one place that all callbacks pass

    def timed(handle: asyncio.Handle) -> None:
        began, cpu = monotonic(), thread_time()
        run(handle)
        report(thread_time() - cpu, monotonic() - began, handle)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


def writing_long_ones(path: Path) -> Callable[[float, float, asyncio.Handle], None]:
    def report(cpu: float, wall: float, handle: asyncio.Handle) -> None:
        if cpu > LONG_SECONDS:
            line = {"at": monotonic(), "cpu": cpu, "wall": wall, "what": what(handle)}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    return report


if __name__ == "__main__":
    with timed_callbacks(writing_long_ones(Path(os.environ["SCALE_CALLBACKS"]))):
        main()
