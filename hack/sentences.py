"""How long the sentences of the documentation are. `python -m hack.sentences` exits 1 if one has more than 35 words, if
the mean of a page is 20 or more, or if a pronoun stands in the place of a noun.

A sentence ends in a full stop, a question mark, a colon at the end of a paragraph, or with its paragraph, list item or
heading. Tables, code blocks, comments and front matter do not count. A code span is one word, and so is a number.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 35
MEAN = 20
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "charts/scaleset-operator/README.md", "docs/**/*.md")

NO_PROSE = re.compile(r"^---\n.*?^---\n|^( *)(`{3,}|~{3,}).*?^\1\2 *$|<!--.*?-->", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^ *(\||---\|| *[^|\n]+\|[^|\n]+$)")
NEW_BLOCK = re.compile(r"^ *([-*+]|\d+\.|#+|!!!|\?\?\?|===|>) +")
END = re.compile(r"(?<=[.!?])[\"')*_`]*\s+(?=[\"'(*_`]*[A-Z0-9`])|(?<=:)\s*$")
NO_NOUN = re.compile(r"\b[Ww]hoever\b|\bWho (is|was|has|may|wants)\b.*[^?]$|\b(is|are|was) told\b|\btells of\b")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, and the page that it is in."""

    page: str
    text: str

    @property
    def words(self) -> int:
        return len(re.findall(r"\S*\w\S*", self.text))


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, list items and headings, as text without marks."""
    lines: list[str] = []
    for line in [*NO_PROSE.sub("\n\n", text).splitlines(), ""]:
        begins = NEW_BLOCK.match(line)
        if not line.strip() or begins or TABLE.match(line):
            if lines:
                yield " ".join(lines)
            lines = []
        if line.strip() and not TABLE.match(line):
            lines.append(NEW_BLOCK.sub("", line).strip())


def plain(block: str) -> str:
    """A code span, and a link, as the words that a person reads."""
    block = re.sub(r"`+[^`]+`+", "Code", block)
    block = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
    return ABBREVIATION.sub(lambda found: found.group().replace(".", ""), block)


def sentences(page: str, text: str) -> list[Sentence]:
    """All sentences of a page."""
    found = (Sentence(page, part.strip()) for block in blocks(text) for part in END.split(plain(block)))
    return [sentence for sentence in found if sentence.words > 0]


def pages() -> Iterator[tuple[str, str]]:
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def complaints(page: str, text: str) -> list[str]:
    """What is too long in a page."""
    found = sentences(page, text)
    long = [each for each in found if each.words > LONGEST]
    told = [f"{page}: {each.words} words, at most {LONGEST}: {each.text}" for each in long]
    told += [f"{page}: say it with a noun: {each.text}" for each in found if NO_NOUN.search(each.text)]
    mean = sum(each.words for each in found) / max(1, len(found))
    return [*told, f"{page}: {mean:.1f} words a sentence, below {MEAN} is wanted"] if mean >= MEAN else told


def main() -> None:
    everything = list(pages())
    told = [line for page, text in everything for line in complaints(page, text)]
    if told:
        sys.exit("\n".join(told))
    found = [sentence for page, text in everything for sentence in sentences(page, text)]
    mean = sum(each.words for each in found) / len(found)
    longest = max(each.words for each in found)
    print(f"{len(found)} sentences of {len(everything)} pages: {mean:.1f} words on average, {longest} the longest.")


if __name__ == "__main__":
    main()
