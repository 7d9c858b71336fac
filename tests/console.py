"""Console blocks of the documentation: commands, and what they print.

A block begins with ```console. A line that begins with `$ ` is a command, `\\` at its end goes on. The lines below are
its output, all of it. In an output

- `...` alone in a line stands for any number of lines, none included;
- times, durations, hashes, addresses, ports and nodes match whatever is in their place, and so do blanks in any number.

A command that ends in ` # exit code N` ends with that code. A comment above a block says more about it:

- `<!-- first: COMMANDS -->` runs before the block and is not shown: what the page takes for granted;
- `<!-- not played: REASON -->` leaves the block out. tests/unit/documentation counts them.

A ```yaml block with `title="NAME"` is a file in the reader's folder.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^( *)(```+)(\w*) *(.*)$")
MARK = re.compile(r"<!-- (first|not played):\s*(.*?)\s*-->", re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
CODE = re.compile(r" # exit code (\d+)$")
ANY = "..."
NO_CODE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$|`[^`\n]+`|<!--.*?-->", re.MULTILINE | re.DOTALL)
"""Code, which has no links."""

ELSEWHERE = {
    "docs/air-gapped.md": "tests/chart and tests/kind play it: it needs Helm, a registry and containers",
    "docs/compatibility.md": "tests/chart",
    "docs/tenants.md": "tests/chart plays it: it installs operators with Helm",
    "docs/uninstall.md": "tests/chart plays it: it takes the operator away",
    "docs/upgrade.md": "tests/chart plays it: it replaces the operator",
}
"""Pages whose console blocks are played by other tests, and why."""

VARIES = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\d+(\.\d+){3}(:\d+)?\b", "ADDRESS"),
    (r"\b(\d+(\.\d+)? ?(ms|s|m|h|d))+\b", "DURATION"),
    (r"\bnode-\d+\b", "NODE"),
    (r"\b(?=[a-z]*\d)[0-9a-z]{8,10}\b", "HASH"),
)
"""What is never the same twice. A hash is one of ControllerRevisions: ten signs at most, one of them a digit."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page. `begin` and `end` are the lines of its output in the page."""

    line: str
    output: tuple[str, ...]
    begin: int
    end: int

    @property
    def code(self) -> int:
        """The exit code that the page expects."""
        found = CODE.search(self.line)
        return int(found.group(1)) if found else 0


@dataclass(frozen=True, slots=True)
class Block:
    """A console block, or a file that the page gives its reader."""

    line: int
    commands: tuple[Command, ...] = ()
    first: str = ""
    left_out: str = ""
    file: str = ""
    content: str = ""


def pages() -> dict[str, Path]:
    """Every page that has a console block to be played here, by its path."""
    found = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
    return {
        page: path for page, path in found.items() if page not in ELSEWHERE and "```console" in path.read_text("utf-8")
    }


def blocks(text: str) -> Iterator[Block]:
    """The console blocks and files of a page, in order. A mark belongs to the next console block."""
    lines = text.splitlines()
    at, since = 0, 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        indent, ticks, language, more = fence.groups()
        end = next(n for n in range(at + 1, len(lines)) if lines[n] == indent + ticks)
        marks = dict(MARK.findall("\n".join(lines[since:at])))
        inside = [line.removeprefix(indent) for line in lines[at + 1 : end]]
        title = TITLE.search(more)
        if title:
            yield Block(at + 1, file=title.group(1), content="".join(f"{line}\n" for line in inside))
        if language == "console":
            yield Block(at + 1, tuple(_commands(inside, at + 1)), marks.get("first", ""), marks.get("not played", ""))
            since = end + 1
        at = end + 1


def _commands(lines: Sequence[str], offset: int) -> Iterator[Command]:
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"line {offset + at + 1}: a console block begins with a command, `$ ...`")
        typed = [lines[at].removeprefix("$ ")]
        while typed[-1].endswith("\\"):
            at += 1
            typed.append(lines[at])
        begin = at = at + 1
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        output = lines[begin:at]
        while output and not output[-1].strip():
            output = output[:-1]
        yield Command("\n".join(typed), tuple(output), offset + begin, offset + begin + len(output))


def same(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether a program printed what the page shows."""
    pattern = "".join("(?:.*\n)*?" if line.strip() == ANY else re.escape(alike(line)) + "\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{alike(line)}\n" for line in printed)) is not None


def alike(line: str) -> str:
    """The line with a word for whatever varies, and one blank for many."""
    for pattern, word in VARIES:
        line = re.sub(pattern, word, line)
    return re.sub(r"\s+", " ", line).strip()
