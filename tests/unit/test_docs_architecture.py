"""docs/architecture.md names modules, functions and tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "operator" / "src" / "scaleset"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
FILES = [name for name in NAMED if re.fullmatch(r"[a-z_]+(/[a-z_]+)*/[a-z_]+\.py", name)]
TESTS = [name for name in NAMED if re.fullmatch(r"[\w/]+\.py::\w+", name)]
MEMBERS = [match for name in NAMED if (match := re.fullmatch(r"([a-z_]+)\.((?!py$)_?[A-Za-z]\w*)", name))]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_named_is_there(name):
    assert any((root / name).is_file() for root in (SOURCE, ROOT, ROOT / "tests" / "unit"))


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_is_there(name):
    path, _, test = name.partition("::")
    found = next((root / path for root in (ROOT / "tests" / "unit", ROOT / "tests") if (root / path).is_file()), None)
    assert found is not None
    assert re.search(rf"def {test}\(", found.read_text("utf-8"))


@pytest.mark.parametrize("match", MEMBERS, ids=lambda match: match.group(0))
def test_a_member_of_a_planner_module_is_there(match):
    module = SOURCE / "planner" / f"{match.group(1)}.py"
    if module.is_file():
        assert re.search(rf"^(def |class )?{match.group(2)}\b", module.read_text("utf-8"), re.MULTILINE)


def test_the_page_names_enough_to_be_worth_the_test():
    assert len(FILES) > 10
    assert len(TESTS) > 10
    assert len(MEMBERS) > 5
