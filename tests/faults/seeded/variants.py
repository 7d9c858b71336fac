"""Operators that a test needs a little different: another version, shorter periods, a loop that blocks."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

from scaleset import application
from scaleset.controllers import scale_set
from scaleset.kube.client import Client
from scaleset.planner import pod_builder

VARIANTS: dict[str, Callable[[], None]] = {}
BLOCKED_SECONDS = 30.0


def variant(function: Callable[[], None]) -> Callable[[], None]:
    VARIANTS[function.__name__] = function
    return function


@variant
def doubts_after_15_seconds() -> None:
    """Instead of a minute."""
    scale_set.RELIST_SECONDS = 15.0


@variant
def pages_of_two() -> None:
    """Lists of three objects have two pages."""
    pages = Client.pages

    def small(self: Client, resource: Any, namespace: str | None, **options: Any) -> Any:
        return pages(self, resource, namespace, **{**options, "limit": min(2, options.get("limit", 2))})

    Client.pages = small  # type: ignore[method-assign]


@variant
def next_version() -> None:
    """What an upgrade of the operator starts: its new pods look a little different from those of today."""
    render = pod_builder.pod

    def mutant(*known: Any, **options: Any) -> Any:
        body = render(*known, **options)
        body["metadata"].setdefault("annotations", {})["scaleset.dev/rendered-by"] = "99.0.0"
        return body

    pod_builder.pod = mutant


@variant
def blocks_its_loop_when_told() -> None:
    """SIGUSR1: a handler that does not return for half a minute."""
    run = application.Application.run

    async def mutant(self: application.Application) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, time.sleep, BLOCKED_SECONDS)
        await run(self)

    application.Application.run = mutant  # type: ignore[method-assign]
