"""The table in docs/reliability.md, from what the last run of the fault tests measured.

python -m tests.faults.table            prints it
python -m tests.faults.table --write    puts it into the document
python -m tests.faults.table --check    after a whole run: every row was tested, and the document lists it
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

from tests.cluster.harness.cluster import ROOT
from tests.faults.harness.report import Line, read
from tests.faults.rows import ELSEWHERE, ROWS

DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
HEAD = "| # | scenario | what was injected | times | what happened | recovery |\n|---|---|---|---|---|---|\n"


def table(lines: list[Line]) -> str:
    """A line for each thing that was injected, and for each row that another suite tests."""
    found: defaultdict[int, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.row].append(line)
    text = HEAD
    for row, scenario in ROWS.items():
        for what, same in _by_what(found[row]).items():
            times = sum(line.times for line in same)
            measured = [line.recovery for line in same if line.recovery is not None]
            recovery = f"{max(measured):.0f} s" if any(measured) else "at once" if measured else ""
            text += f"| {row} | {scenario} | {what} | {times} | {same[-1].outcome} | {recovery} |\n"
        if not found[row]:
            tests = ", ".join(f"`tests/{test}`" for test in ELSEWHERE.get(row, ()))
            text += f"| {row} | {scenario} | {tests or '**no test**'} | | | |\n"
    return text


def problems(lines: list[Line], document: str) -> list[str]:
    """Rows that nothing tested, and what the document does not say as it is."""
    told = {line.row for line in lines}
    found = [f"row {row} ({ROWS[row]}) was not tested" for row in ROWS if row not in told and row not in ELSEWHERE]
    for row, tests in ELSEWHERE.items():
        found += [f"row {row}: there is no tests/{test}" for test in tests if not _exists(test)]
    listed = {int(match) for match in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)}
    found += [f"docs/reliability.md does not list row {row}" for row in ROWS if row not in listed]
    for row, what in sorted({(line.row, line.what) for line in lines}):
        if _unseeded(f"| {row} | {ROWS[row]} | {what}") not in _unseeded(document):
            found.append(f"docs/reliability.md does not have: {what} (row {row})")
    return found


def _by_what(lines: list[Line]) -> dict[str, list[Line]]:
    found: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.what].append(line)
    return found


def _unseeded(text: str) -> str:
    """Seeds and what follows from chance are another each time."""
    return re.sub(r"\d+", "#", text)


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file: Path = ROOT / "tests" / path
    return file.exists() and f"def {name}(" in file.read_text()


def main() -> int:
    lines = read()
    document = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    if "--check" in sys.argv:
        found = problems(lines, document)
        sys.stderr.write("".join(f"{each}\n" for each in found))
        return 1 if found else 0
    if "--write" in sys.argv:
        before, _, rest = document.partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}{table(lines)}{END}{after}")
        return 0
    sys.stdout.write(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
