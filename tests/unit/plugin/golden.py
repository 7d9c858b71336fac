"""The golden files of the plugin's views: what was recorded, and what it is to look like."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from kubectl_scaleset import azure, histories, pictures, tables, trees, words
from kubectl_scaleset.catalogue import newest_model
from kubectl_scaleset.outcomes import outcome
from kubectl_scaleset.pictures import SetView
from kubectl_scaleset.words import ASCII, UNICODE, Glyphs

RECORDED = Path(__file__).with_name("recorded")
WIDTH = 160


def scenes() -> list[str]:
    """Names of what was recorded of one set."""
    return sorted(path.stem for path in RECORDED.glob("*.json") if path.stem != "sets")


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def plain(what: RenderableType, *, width: int = WIDTH) -> str:
    """As on a terminal without colours."""
    console = Console(width=width, color_system=None, highlight=False, markup=False, emoji=False)
    return words.printed(console, what)


def view(name: str, *, glyphs: Glyphs = UNICODE, width: int = WIDTH) -> str:
    """All views of one set: status line, tree, table of instances."""
    seen = recorded(name)
    found, now = SetView(seen["scaleSet"]), float(seen["now"])
    rows = pictures.instances(found, seen["pods"], now=now)
    told = outcome(found)
    parts = [
        f"{told.text}\nexit code {told.exit_code}\n",
        plain(trees.picture(found, rows, now=now, glyphs=glyphs), width=width),
        plain(tables.instances(rows, now=now, newest=newest_model(found), glyphs=glyphs), width=width),
    ]
    if entries := histories.rollouts(found):
        parts.append(plain(tables.history(entries, now=now, glyphs=glyphs), width=width))
    return "\n".join(parts)


def listing(*, glyphs: Glyphs = UNICODE, width: int = WIDTH) -> str:
    seen = recorded("sets")
    found = [SetView(raw) for raw in seen["scaleSets"]]
    return plain(tables.sets(found, now=float(seen["now"]), glyphs=glyphs, namespaces=True), width=width)


def az(name: str) -> str:
    """Both az documents."""
    status = recorded(name)["scaleSet"]["status"]
    return azure.dump(azure.history(status, location="default")) + azure.dump(azure.latest(status, location="default"))


def golden_files() -> Iterator[tuple[Path, str]]:
    """Every golden file and its text as the code makes it now."""
    for name in scenes():
        yield RECORDED / f"{name}.txt", view(name)
    yield RECORDED / "sets.txt", listing()
    yield RECORDED / "rolling.ascii.txt", view("rolling", glyphs=ASCII)
    yield RECORDED / "faulted.narrow.txt", view("faulted", width=80)
    yield RECORDED / "faulted.60.txt", view("faulted", width=60)
    yield RECORDED / "sets.60.txt", listing(width=60)
    yield RECORDED / "faulted.az.json.txt", az("faulted")
