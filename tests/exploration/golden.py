"""The golden logs: what every scene is to look like.

python -m tests.exploration.golden            says which logs differ, and how
python -m tests.exploration.golden --write    writes them anew; read the diff before you commit it
python -m tests.exploration.golden NAME ...   plays those scenes and prints their logs
"""

from __future__ import annotations

import difflib
import inspect
import sys
from pathlib import Path

from tests.exploration import circumstance_scenes, user_scenes, version_scenes
from tests.exploration.course import BrokenOffError
from tests.exploration.rendering import render
from tests.exploration.stage import SCENES

FOLDER = Path(__file__).parent / "golden"
MODULES = (version_scenes, user_scenes, circumstance_scenes)
"""Importing them fills `SCENES`."""


def path(name: str) -> Path:
    """Where the log of a scene is kept."""
    return FOLDER / f"{name}.log"


def played(name: str) -> str:
    """The log of a scene as it is played now."""
    return render(name, _story(name), SCENES[name]())


def difference(name: str) -> str:
    """What has changed, as a unified diff; empty if nothing has. A scene that breaks off ends with the reason."""
    file = path(name)
    try:
        now = played(name)
    except BrokenOffError as error:
        now = render(name, _story(name), error.course)
    old = file.read_text() if file.exists() else ""
    lines = (old.splitlines(keepends=True), now.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, f"golden/{name}.log", f"{name}, as it is played now"))


def _story(name: str) -> str:
    return inspect.cleandoc(SCENES[name].__doc__ or "")


def superfluous() -> list[Path]:
    """Logs without a scene."""
    return sorted(set(FOLDER.glob("*.log")) - {path(name) for name in SCENES})


def write() -> list[str]:
    """Write the logs that differ; their names. Nothing is written of a scene that breaks off: it raises."""
    for file in superfluous():
        file.unlink()
    changed = [name for name in SCENES if difference(name)]
    for name in changed:
        path(name).write_text(played(name))
    return changed


def main(arguments: list[str]) -> int:
    """Says what it did; the exit code tells whether the logs are as they should be."""
    out = sys.stdout
    if arguments == ["--write"]:
        changed = write()
        out.write(f"Wrote {', '.join(changed)}.\n" if changed else f"All {len(SCENES)} logs are as they should be.\n")
        return 0
    if unknown := [name for name in arguments if name not in SCENES]:
        out.write(f"There is no scene {', '.join(unknown)}. There are: {', '.join(SCENES)}.\n")
        return 2
    if arguments:
        out.write("\n".join(played(name) for name in arguments))
        return 0
    found = "".join(difference(name) for name in SCENES)
    out.write(found or f"All {len(SCENES)} logs are as they should be.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
