"""The notation of console blocks, and how many of them nobody plays."""

import pytest

from tests.console import ELSEWHERE, ROOT, alike, blocks, pages, same

PAGE = """
<!-- first: make it so
and so -->

```yaml title="a.yaml"
a: 1
```

1. Do it:

    ```console
    $ say one \\
        two
    one two
    $ fail # exit code 3
    ...
    ```

<!-- not played: it would rain -->

```console
$ rain
```
"""


def test_a_page_is_read() -> None:
    file, first, second = blocks(PAGE)
    assert (file.file, file.content) == ("a.yaml", "a: 1\n")
    assert first.first == "make it so\nand so"
    assert [(each.line, each.output, each.code) for each in first.commands] == [
        ("say one \\\n    two", ("one two",), 0),
        ("fail # exit code 3", ("...",), 3),
    ]
    assert (first.left_out, second.left_out) == ("", "it would rain")


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        (["web  12s"], ["web     4m5s"], True),
        (["at 2026-11-30T02:43:25Z, 9.5 s"], ["at 2027-01-01T00:00:00Z, 1 ms"], True),
        (["model web-d19fcfedb2"], ["model web-7c9d8b6f5"], True),
        (["pvc-810da1fc-405d-41e0-a2bf-3bc2a09fd721"], ["pvc-f96ffe7e-5172-442f-9f00-03fe88248b2e"], True),
        (["node-000003 10.0.1.1"], ["node-000009 10.0.6.2:8080"], True),
        (["one", "...", "three"], ["one", "2", "2b", "three"], True),
        (["one", "...", "three"], ["one", "three"], True),
        (["..."], [], True),
        (["one", "..."], ["two"], False),
        (["5 of 5 healthy"], ["4 of 5 healthy"], False),
        (["1.1.0"], ["1.0.0"], False),
        (["one"], ["one", "two"], False),
        ([], ["one"], False),
        (["a.c"], ["abc"], False),
    ],
)
def test_an_output_is_compared_but_for_what_varies(shown: list[str], printed: list[str], is_same: bool) -> None:
    assert same(shown, printed) is is_same


def test_versions_and_counts_do_not_vary() -> None:
    assert alike("web-0   1.1.0  5/5  12s") == "web-0 1.1.0 5/5 DURATION"


def test_what_nobody_plays_is_counted() -> None:
    """A block that is not played needs a reason. One more of them is a decision: change the number here."""
    left_out = {
        page: sum(bool(block.left_out) for block in blocks(path.read_text(encoding="utf-8")))
        for page, path in pages().items()
    }
    assert {page: count for page, count in left_out.items() if count} == {
        "docs/howto/drains.md": 1,
        "docs/start/install.md": 2,
        "docs/start/objects.md": 1,
    }
    assert all((ROOT / page).exists() for page in ELSEWHERE)


def test_every_how_to_and_tutorial_has_the_same_form() -> None:
    for path in sorted((ROOT / "docs" / "howto").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        headings = [heading for heading in ("## Before you begin", "## Check", "## Undo") if f"\n{heading}\n" in text]
        assert len(headings) == 3, f"{path.name} has {headings}"
