"""Sets of instance ids as text (semantics 6.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.planner.ranges import abridged, parse, render

IDS = st.frozensets(st.integers(0, 9999))


@pytest.mark.parametrize(
    ("ids", "text"),
    [((), ""), ((0,), "0"), ((0, 1), "0-1"), ((0, 1, 2, 3, 7), "0-3,7"), ((9, 1, 5), "1,5,9"), (range(1000), "0-999")],
)
def test_ranges_are_ascending_and_short(ids, text):
    assert render(ids) == text


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ((), ""),
        (range(1000), "0-999"),
        (range(0, 30, 5), "0,5,10,15,20,25"),
        (range(0, 120, 5), "0,5,10,15,...,115 (24)"),
    ],
)
def test_of_many_ranges_people_are_told_the_first(ids, text):
    """A batch of a set with update domains has no two neighbours in it."""
    assert abridged(ids) == text


@given(IDS)
def test_what_is_written_is_read_again(ids):
    assert parse(render(ids)) == ids


@pytest.mark.parametrize(
    ("text", "ids"), [(None, ()), ("", ()), (" 0, 3 ", (0, 3)), ("2-4,3", (2, 3, 4)), ("5-3", ()), (",,1,", (1,))]
)
def test_reading_forgives_spaces_and_overlaps(text, ids):
    assert parse(text) == frozenset(ids)


@pytest.mark.parametrize(
    "text",
    ["a", "1-", "-1", "1-2-3", "1.5", "0-99999", "10000", "0-999999999999999999999", "٣", "²", "0x1", "1;2", "*"],
)
def test_anything_else_is_refused_before_it_becomes_a_list(text):
    """A range is user input: 0-999999999 must not become a list."""
    with pytest.raises(ValueError, match="instance id"):
        parse(text)


def test_of_a_long_text_forty_characters_are_told():
    with pytest.raises(ValueError, match=rf"^'{'1' * 40}' is beyond the largest instance id, 9999$"):
        parse("1" * 50)
    with pytest.raises(ValueError, match=rf"^'{'x' * 40}' is neither an instance id nor a range such as 0-3$"):
        parse("x" * 50)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    try:
        ids, sentence = parse(text), ""
    except ValueError as error:
        ids, sentence = frozenset(), str(error)
    assert all(0 <= number <= 9999 for number in ids)
    assert "instance id" in sentence or not sentence
