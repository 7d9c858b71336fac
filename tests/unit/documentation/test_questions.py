"""What a newcomer asks has a page, at most two clicks away from README."""

from pathlib import Path

import pytest
import yaml

from tests.console import ROOT
from tests.unit.documentation.test_links import links

QUESTIONS = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
README = ROOT / "README.md"


def linked(path: Path) -> set[Path]:
    """The pages that a page leads to."""
    if path.suffix != ".md":
        return set()
    return {(path.parent / target.partition("#")[0]).resolve() for target in links(path)} - {path}


FIRST = linked(README)
SECOND = FIRST.union(*(linked(path) for path in FIRST if path.exists()))


def test_there_are_26_of_them() -> None:
    assert len(QUESTIONS) == len({each["ask"] for each in QUESTIONS}) == 26


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["ask"])
def test_a_question_is_answered_within_two_clicks(question: dict[str, str]) -> None:
    """The page is there, README or a page that README names leads to it, and it has the words of the answer."""
    page = ROOT / question["page"]
    assert page in SECOND
    text = page.read_text(encoding="utf-8")
    assert all(word in text for word in question["says"]), f"{question['page']} has to say {question['says']}"


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120
