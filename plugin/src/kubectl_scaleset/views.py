"""Tables and trees on the screen, once or live.

On a terminal, rich redraws a live view after a change, or once a second for the ages. Any other output gets lines: the
view at the beginning, a line for each change, the view at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from kubectl_scaleset import pictures, tables, trees
from kubectl_scaleset.failures import TIMED_OUT, CliError
from kubectl_scaleset.follow import TICK_SECONDS, Follower, Subject
from kubectl_scaleset.outcomes import outcome
from kubectl_scaleset.pictures import SetView
from scaleset.api import names
from scaleset.kube.resources import PODS
from scaleset.records.kinds import SCALE_SETS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kubectl_scaleset.session import Session

REDRAWS = 8


def show_sets(session: "Session", found: list[SetView], *, needs_attention: bool) -> None:
    """The table, or a sentence that there are no sets."""
    if found:
        session.show(_sets(session, found))
        return
    where = "in any namespace" if session.all_namespaces else f"in namespace {session.namespace}"
    session.note(f"No ScaleSet needs attention {where}." if needs_attention else f"No ScaleSet {where}.")


def _sets(session: "Session", found: list[SetView]) -> "RenderableType":
    return tables.sets(found, now=session.client.now(), glyphs=session.glyphs, namespaces=session.all_namespaces)


def show_set(session: "Session", found: SetView, *, everything: bool) -> None:
    """Header and tree."""
    session.show(_picture(session, found, session.pods(found), everything=everything))


def _picture(
    session: "Session", found: SetView, pods: list[dict[str, object]], *, everything: bool
) -> "RenderableType":
    now = session.client.now()
    rows = pictures.instances(found, pods, now=now)
    return trees.picture(found, rows, now=now, glyphs=session.glyphs, everything=everything)


def watch_sets(session: "Session", *, needs_attention: bool, timeout: float | None) -> int:
    """`list -w`: until interrupted or timed out."""
    printed: dict[str, str] = {}
    with Follower(session.client, Subject(SCALE_SETS, session.where)) as follower:

        def found() -> list[SetView]:
            every = [SetView(raw) for raw in follower.objects()]
            return [each for each in every if each.needs_attention] if needs_attention else every

        def changes() -> list[str]:
            now = {f"{each.namespace}/{each.name}": outcome(each).text for each in found()}
            gone = [f"{key} is gone." for key in printed if key not in now]
            news = [f"{key.partition('/')[0]}/{text}" for key, text in now.items() if printed.get(key) != text]
            printed.clear()
            printed.update(now)
            return gone + news

        view = _View(follower, lambda: _sets(session, found()), changes, lambda: False)
        return _watch(session, view, timeout)


def watch_set(session: "Session", found: SetView, *, follow: bool, everything: bool, timeout: float | None) -> int:
    """`get -w`: until the rollout has ended, or for ever."""
    subjects = (
        Subject(SCALE_SETS, found.namespace, name=found.name),
        Subject(PODS, found.namespace, selector=f"{names.LABEL_NAME}={found.name}"),
    )
    printed = [""]
    with Follower(session.client, *subjects) as follower:

        def now() -> SetView:
            there = follower.objects()
            if not there or there[0]["metadata"]["uid"] != found.uid:
                raise CliError(f"ScaleSet {found.namespace}/{found.name} was deleted meanwhile.")
            return SetView(there[0])

        def changes() -> list[str]:
            text = outcome(now()).text
            news = [text] if text != printed[0] else []
            printed[0] = text
            return news

        def ended() -> bool:
            return not follow and outcome(now()).code is not None

        def drawn() -> "RenderableType":
            return _picture(session, now(), follower.objects(1), everything=everything)

        return _watch(session, _View(follower, drawn, changes, ended), timeout)


@dataclass(frozen=True, slots=True)
class _View:
    """What a terminal gets redrawn, or another output gets line by line."""

    follower: Follower
    drawn: "Callable[[], RenderableType]"
    changes: Callable[[], list[str]]
    ended: Callable[[], bool]


def _watch(session: "Session", view: _View, timeout: float | None) -> int:
    session.mind_the_operator()
    deadline = None if timeout is None else monotonic() + timeout
    return _draw(session, view, deadline) if session.live else _print(session, view, deadline)


def _draw(session: "Session", view: _View, deadline: float | None) -> int:
    from rich.live import Live

    def fitted() -> "RenderableType":
        return session.fitted(view.drawn())

    with Live(fitted(), console=session.console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        seen, last = -1, monotonic()
        while not view.ended():
            left = TICK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0:
                return TIMED_OUT
            seen = view.follower.wait(seen, min(left, TICK_SECONDS))
            view.follower.wait(seen, max(0.0, last + 1 / REDRAWS - monotonic()))
            live.update(fitted(), refresh=True)
            last = monotonic()
        live.update(fitted(), refresh=True)
    return 0


def _print(session: "Session", view: _View, deadline: float | None) -> int:
    began = monotonic()
    session.show(view.drawn())
    view.changes()
    if view.ended():
        return 0
    session.say("")
    seen = -1
    while not view.ended():
        for line in view.changes():
            session.say(f"{monotonic() - began:5.1f}s  {line}")
        left = TICK_SECONDS if deadline is None else deadline - monotonic()
        if left <= 0:
            return TIMED_OUT
        seen = view.follower.wait(seen, min(left, TICK_SECONDS))
    for line in view.changes():
        session.say(f"{monotonic() - began:5.1f}s  {line}")
    session.say("")
    session.show(view.drawn())
    return 0
