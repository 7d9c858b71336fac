"""Which image version does `latest` mean?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.planner.gallery import Asker, Definition, GalleryVersion, eligible, exact, next_expiry, number, why_not
from tests.simulation.world import DEFINITION, EPOCH, version

HERE = Asker("shop")


def latest(*versions: GalleryVersion, asker: Asker = HERE, now: float = EPOCH) -> str | None:
    return next((v.version for v in eligible(versions, DEFINITION, asker, now=now)), None)


@pytest.mark.parametrize(
    ("published", "meant"),
    [
        (["1.9.0", "1.10.0"], "1.10.0"),
        (["1.10.0", "1.9.0"], "1.10.0"),
        (["2.0.0", "10.0.0", "9.9.9"], "10.0.0"),
        (["1.0.9", "1.0.10"], "1.0.10"),
        (["0.0.0"], "0.0.0"),
        (["2147483647.0.0", "3.0.0"], "2147483647.0.0"),
        ([], None),
    ],
)
def test_versions_compare_as_numbers_and_not_by_date(published, meant):
    versions = [version(v, created=EPOCH + n) for n, v in enumerate(published)]
    assert latest(*versions) == meant
    assert latest(*reversed(versions)) == meant


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"excluded": True}, "it is excluded from latest"),
        ({"end_of_life": EPOCH}, "its end of life has passed"),
        ({"end_of_life": EPOCH + 1}, None),
        ({"regions": {}}, "it is not replicated to region default"),
        ({"regions": {"west": False}}, "it is not replicated to region default"),
        ({"regions": {"default": True}}, "it is excluded from latest in region default"),
        ({"regions": {"default": False}}, None),
        ({"regions": None}, None),
        ({"definition": DEFINITION._replace(gallery="images")}, "it is not shared with namespace shop"),
    ],
)
def test_what_latest_passes_over_and_why(changes, why):
    assert why_not(version("2.0.0", **changes), HERE, now=EPOCH) == why


@pytest.mark.parametrize(
    ("scope", "shared_with", "may"),
    [
        ("Private", (), False),
        ("Private", ("shop",), False),
        ("Namespaces", ("shop",), True),
        ("Namespaces", ("other",), False),
        ("Community", (), True),
    ],
)
def test_a_version_of_another_namespace_has_to_be_shared(scope, shared_with, may):
    elsewhere = DEFINITION._replace(gallery="images")
    shared = version("1.0.0", definition=elsewhere, scope=scope, shared_with=frozenset(shared_with))
    assert bool(eligible([shared], elsewhere, HERE, now=EPOCH)) is may
    assert (exact([shared], elsewhere, "1.0.0", HERE) is not None) is may


def test_another_definition_is_never_chosen():
    """An image upgrade never changes publisher, offer or sku."""
    others = [
        version("9.0.0", definition=Definition(*changed))
        for changed in (
            ("images", "contoso", "web", "stable"),
            ("shop", "fabrikam", "web", "stable"),
            ("shop", "contoso", "db", "stable"),
            ("shop", "contoso", "web", "preview"),
        )
    ]
    assert latest(version("1.0.0"), *others) == "1.0.0"


def test_of_two_objects_with_one_version_the_older_then_the_first_by_name_wins():
    older = version("1.0.0", name="b", created=EPOCH)
    younger = replace(older, name="a", created=EPOCH + 1, image="example.com/evil:1.0.0")
    twin = replace(older, name="c", image="example.com/other:1.0.0")
    for order in ([older, younger, twin], [twin, younger, older]):
        assert [v.image for v in eligible(order, DEFINITION, HERE, now=EPOCH)] == [older.image]


def test_the_loser_of_two_counts_for_nothing_even_when_the_winner_is_excluded():
    """A duplicate is never chosen: excluding a version cannot bring another image of the same number in."""
    older = version("2.0.0", name="a", excluded=True)
    younger = version("2.0.0", name="b", created=EPOCH + 1)
    assert latest(version("1.0.0"), older, younger) == "1.0.0"


@pytest.mark.parametrize("changes", [{"excluded": True}, {"end_of_life": EPOCH - 1}, {"regions": {"default": True}}])
def test_who_names_a_version_gets_it_excluded_or_old(changes):
    assert exact([version("1.0.0", **changes)], DEFINITION, "1.0.0", HERE) is not None


def test_who_names_a_version_still_needs_it_in_the_region():
    assert exact([version("1.0.0", regions={"west": False})], DEFINITION, "1.0.0", HERE) is None


def test_the_next_expiry_is_the_earliest_to_come():
    versions = [version("1.0.0", end_of_life=EPOCH - 1), version("2.0.0", end_of_life=EPOCH + 9), version("3.0.0")]
    assert next_expiry(versions, now=EPOCH) == EPOCH + 9
    assert next_expiry(versions, now=EPOCH + 9) is None


PARTS = st.integers(0, 2**31 - 1)


@given(st.lists(st.tuples(PARTS, PARTS, PARTS), min_size=1, max_size=8, unique=True))
def test_latest_is_the_highest_of_any_versions(numbers):
    versions = [version(".".join(map(str, parts))) for parts in numbers]
    found = latest(*versions)
    assert found is not None
    assert number(found)[:3] == max(numbers)
