"""Where the demo is shown: lines on any output, or one live view on a terminal that shows the same lines at its end."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from . import journal, view
from .journal import Entry, Journal

if TYPE_CHECKING:
    from .story import Story

SMALLEST = (78, 20)
REFRESHES = 6


def wants_live(environment: Mapping[str, str]) -> bool:
    """A person looks at a terminal that can do it, and did not ask for plain lines."""
    if not sys.stdout.isatty() or environment.get("TERM", "dumb") == "dumb":
        return False
    if environment.get("NO_COLOR") or environment.get("CI"):
        return False
    size = os.get_terminal_size(sys.stdout.fileno())
    return size.columns >= SMALLEST[0] and size.lines >= SMALLEST[1]


def printed(entry: Entry) -> None:
    for line in journal.lines(entry):
        print(line, flush=True)


class Screen:
    """`say` takes the journal's entries; inside `live()` they are shown by the view and printed when it ends."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._showing = False

    def say(self, entry: Entry) -> None:
        if not self._showing:
            self._print(entry)

    @contextmanager
    def live(self, story: "Story", told: Journal) -> Iterator[None]:
        if not self._live:
            yield
            return
        from rich.console import Console, Group
        from rich.live import Live

        console = Console()
        glyphs = view.UNICODE if console.encoding.startswith("utf") else view.ASCII

        def current() -> Group:
            lines = view.render(_picture(story, told), width=console.width, height=console.height, glyphs=glyphs)
            return Group(*lines)

        first = len(told.entries)
        self._showing = True
        try:
            with Live(console=console, screen=True, get_renderable=current, refresh_per_second=REFRESHES):
                yield
        finally:
            self._showing = False
            for entry in told.entries[first:]:
                self._print(entry)

    def _print(self, entry: Entry) -> None:
        if not self._live:
            printed(entry)
            return
        from rich.console import Console

        console = Console(highlight=False)
        for line in view.styled(entry, min(console.width, journal.WIDTH)):
            console.print(line, soft_wrap=True)


def _picture(story: "Story", told: Journal) -> view.Picture:
    now, entries = datetime.now(UTC), tuple(told.entries)
    world = story.world
    with world.changed if world else contextlib.nullcontext():
        return view.Picture(
            now=now,
            elapsed=told.elapsed,
            replicas=story.replicas,
            allowed_down=story.allowed_down,
            entries=entries,
            down=world.down() if world else 0,
            most_down=world.most_down if world else 0,
            scale_set=world.scale_set if world else {},
            pods=dict(world.pods) if world else {},
        )
