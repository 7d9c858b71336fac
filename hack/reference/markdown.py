"""Tables of Markdown, and the marks that they stand between in a page that people write."""

from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs"


def rows(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A table. A cell is Markdown already, but for the sign that would end it."""
    cells = [head, tuple("---" for _ in head), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in cells)


def prose(text: str) -> str:
    """Words of an API, as Markdown that shows them as they are."""
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")


def placed(path: Path, inside: Mapping[str, str]) -> str:
    """The page with its tables. ValueError when it has lost the marks of one."""
    text = path.read_text(encoding="utf-8")
    for mark, table in inside.items():
        begin, end = f"<!-- begin {mark} -->\n", f"<!-- end {mark} -->\n"
        if begin not in text or end not in text:
            raise ValueError(f"{path.relative_to(ROOT)} needs the marks {begin.strip()} and {end.strip()}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text
