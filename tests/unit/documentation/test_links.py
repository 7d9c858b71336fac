"""Links of README and docs/: each leads to a page, and to a heading, that there is. `make docs` asks the same of the
site; this also holds where people read the pages in the repository.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.console import NO_CODE, ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
AT_ROOT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(path: Path) -> list[str]:
    """Where a page leads, but for other hosts."""
    found = LINK.findall(NO_CODE.sub("", path.read_text(encoding="utf-8")))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(path: Path) -> frozenset[str]:
    text = NO_CODE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower() for heading in headings)
    return frozenset(re.sub(r"[-\s]+", "-", heading) for heading in plain) | set(re.findall(r'<a id="([^"]+)">', text))


def broken(path: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for target in links(path):
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in anchors(page)):
            found.append(target)
    return found


@pytest.mark.parametrize("path", [*PAGES, *AT_ROOT], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_leads_out_of_the_site(path: Path) -> None:
    """A file of the repository is named as code. Pages that show a file of the root are links of their own."""
    outside = [
        target for target in links(path) if not (path.parent / target.partition("#")[0]).resolve().is_relative_to(DOCS)
    ]
    assert outside == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n[a](page.md#one) [b](page.md#two) [c](other.md) [d](#one)\n")
    assert broken(page) == ["page.md#two", "other.md"]


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/.-]+\.md)\b", config.partition("\nnav:\n")[2]))
    assert named == {str(path.relative_to(DOCS)) for path in PAGES}
