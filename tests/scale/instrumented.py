"""The operator, with every callback of its event loops timed: `python -m tests.scale.instrumented` in place of
`python -m scaleset`.

What took longer than 20 ms of processor time is appended to the file that SCALE_CALLBACKS names, one JSON object a
line: {"at": monotonic seconds of the end, "cpu": seconds of the thread, "wall": seconds, "what": task and function}.
Processor time, since on a machine that does other things as well nobody else's share counts as a block of ours.
"""

import asyncio
import json
import os
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

from scaleset.__main__ import main

LONG_SECONDS = 0.02


def _what(handle: asyncio.Handle) -> str:
    """The task and the function where it waits now, which is where the long part ended."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(callback)[:120]
    coroutine: Any = task.get_coro()
    while getattr(coroutine, "cr_await", None) is not None and hasattr(coroutine.cr_await, "cr_code"):
        coroutine = coroutine.cr_await
    return f"{task.get_name()}: {getattr(coroutine, '__qualname__', coroutine)}"


def _time_callbacks(path: Path) -> None:
    run = asyncio.Handle._run  # the one place that all callbacks pass

    def timed(handle: asyncio.Handle) -> None:
        began, cpu = monotonic(), thread_time()
        run(handle)
        cpu = thread_time() - cpu
        if cpu > LONG_SECONDS:
            ended = monotonic()
            line = {"at": ended, "cpu": cpu, "wall": ended - began, "what": _what(handle)}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _time_callbacks(Path(os.environ["SCALE_CALLBACKS"]))
    main()
