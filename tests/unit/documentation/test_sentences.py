"""How sentences are counted (hack/sentences.py)."""

from hack.sentences import complaints, sentences

LONG = " ".join(["word"] * 36)


def lengths(text: str) -> list[int]:
    return [each.words for each in sentences("page", text)]


def test_what_is_a_sentence() -> None:
    assert lengths("One two. Three `a b c` five? Six:\n\n- seven\n- eight [nine](a b) ten\n") == [2, 3, 1, 1, 3]
    assert lengths("# Title of it\n\nOne. `code` is a sentence.\n") == [3, 1, 4]


def test_tables_code_and_comments_do_not_count() -> None:
    assert lengths(
        "One.\n\n| a | b |\n|---|---|\n| c d | e |\n\n```sh\nlong line here\n```\n<!-- not this -->\nTwo.\n"
    ) == [1, 1]


def test_a_sentence_that_is_too_long_is_named() -> None:
    assert complaints("page", f"Short. {LONG.capitalize()}.")[0].startswith("page: 36 words")
    assert complaints("page", "Short. Short, too.") == []
    assert complaints("page", "Whoever reads this.") == ["page: say it with a noun: Whoever reads this."]


def test_the_mean_counts() -> None:
    assert complaints("page", " ".join(["word"] * 25) + ".") == ["page: 25.0 words a sentence, below 20 is wanted"]
