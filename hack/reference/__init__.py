"""What is generated of docs/: the pages of the API, from crds/, and tables, from the code."""

from pathlib import Path

from hack.reference import api, cli, code, operation
from hack.reference.markdown import PAGES, placed


def pages() -> dict[Path, str]:
    """Every page as it should be. ValueError when a page has lost the marks of a table."""
    found = {
        PAGES / name: placed(PAGES / name, inside) for name, inside in (code.tables() | operation.tables()).items()
    }
    return found | {PAGES / name: text for name, text in api.pages().items()} | {cli.TARGET: cli.reference()}
