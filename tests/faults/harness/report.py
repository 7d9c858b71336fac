"""What the tests measured, a line for each row of docs/reliability.md; `python -m tests.faults.table` reads it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from tests.cluster.harness.cluster import ROOT

FOLDER = ROOT / ".work" / "faults"


@dataclass(frozen=True, slots=True)
class Line:
    """One row: `recovery` in seconds from the end of the fault until all was well; None: nothing had to recover."""

    row: int
    what: str
    times: int
    outcome: str
    recovery: float | None


class Report:
    """Appends lines to a file of this process."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._path = FOLDER / f"rows-{os.getpid()}.jsonl"
        self._lock = Lock()

    def add(self, row: int, what: str, *, times: int, outcome: str, recovery: float | None = None) -> None:
        assert times > 0, f"row {row}: nothing was injected, so nothing was tested"
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(asdict(Line(row, what, times, outcome, recovery))) + "\n")


def read(folder: Path = FOLDER) -> list[Line]:
    """Every line of the last run."""
    texts = (path.read_text() for path in sorted(folder.glob("rows-*.jsonl")))
    return [Line(**json.loads(line)) for text in texts for line in text.splitlines()]
