"""One version in several spellings: `1.2`, `1.2.0` and `01.2` are the same wherever versions are compared, and each is
shown as it was written.
"""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.planner.gallery import Asker, eligible, exact, is_number, number, same, spellings, usual, winners
from scaleset.planner.instances import Build
from scaleset.planner.revisions import describe
from tests.simulation.outcomes import code, condition, models
from tests.simulation.scenes import BAD, apply_model, cancel, pin, running, start
from tests.simulation.world import DEFINITION, EPOCH, World, policy, spec, version

HERE = Asker("shop")
PARTS = st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 3), min_size=1, max_size=4)


@st.composite
def spelled(draw: st.DrawFn, parts: tuple[int, ...]) -> str:
    """Those numbers in any spelling: zeros in front, and parts of 0 at the end or not."""
    shortest = list(parts)
    while len(shortest) > 1 and shortest[-1] == 0:
        shortest.pop()
    ends = draw(st.integers(0, 4 - len(shortest)))
    widths = st.integers(1, 10)
    return ".".join(str(part).zfill(draw(widths)) for part in [*shortest, *[0] * ends])


@st.composite
def twice(draw: st.DrawFn) -> tuple[str, str]:
    """One version in two spellings."""
    parts = tuple(draw(PARTS))
    return draw(spelled(parts)), draw(spelled(parts))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("17", (17, 0, 0, 0)),
        ("1.2", (1, 2, 0, 0)),
        ("01.2", (1, 2, 0, 0)),
        ("16.04.20201019", (16, 4, 20201019, 0)),
        ("2024.10.17.1", (2024, 10, 17, 1)),
        ("0000000000", (0, 0, 0, 0)),
    ],
)
def test_a_version_is_one_to_four_numbers(text, parts):
    assert is_number(text)
    assert number(text) == parts


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.2.3.4.5", "v1", "1.2-rc1", "-1", "1.٢", "1\n", "latest"]
)
def test_what_is_no_version(text):
    assert not is_number(text)
    with pytest.raises(ValueError, match="is no version"):
        number(text)
    assert same(text, text)
    assert not same(text, "1.2")
    assert usual(text) == text


def test_nothing_is_the_same_as_nothing_alone():
    assert same(None, None)
    assert not same(None, "0")
    assert not same("1.2", None)


@given(twice())
def test_two_spellings_are_one_version(pair):
    one, other = pair
    assert number(one) == number(other)
    assert same(one, other)
    assert usual(one) == usual(other) == usual(usual(one))
    assert spellings(pair) == {one: one, other: one}
    assert describe("web", _pinned(one)).name == describe("web", _pinned(other)).name


@given(st.lists(PARTS.map(tuple), min_size=1, max_size=6), st.data())
def test_the_order_is_that_of_the_numbers_however_they_are_spelled(versions, data):
    """A total order: padded with zeros, part by part."""
    texts = [data.draw(spelled(parts)) for parts in versions]
    padded = [(*parts, 0, 0, 0)[:4] for parts in versions]
    assert [number(text) for text in sorted(texts, key=number)] == sorted(padded)
    published = [version(text, name=f"v{n}", created=EPOCH + n) for n, text in enumerate(texts)]
    chosen = winners(published)
    assert sorted(parts for _, parts in chosen) == sorted(set(padded))
    for (_, parts), winner in chosen.items():
        assert winner is published[padded.index(parts)]  # the oldest
    assert [number(v.version) for v in eligible(published, DEFINITION, HERE, now=EPOCH + 9)] == sorted(
        set(padded), reverse=True
    )


@given(twice())
def test_who_pins_one_spelling_gets_the_other(pair):
    published, asked = pair
    found = exact([version(published)], DEFINITION, asked, HERE)
    assert found is not None
    assert found.version == published


def _pinned(text: str) -> Any:
    return spec(imageReference={"publisher": "contoso", "offer": "web", "sku": "stable", "version": text})


@pytest.mark.parametrize(
    ("text", "name"), [("1.10.0", "web-d95d6916e3"), ("0.0.0", "web-1409885859"), ("latest", "web-6a8c379eed")]
)
def test_models_keep_the_names_that_they_are_stored_under(text, name):
    """Those of versions as operators before 1.1 allowed them: another name would replace every pod."""
    assert describe("web", _pinned(text)).name == name


def test_a_pod_keeps_the_label_that_it_has():
    world = running(3)
    pod = world.pods[0]
    build = Build(pod.model, "1.0", pod.image("app"))
    assert build.same_as(pod)
    assert not replace(build, version="1.0.1").same_as(pod)
    assert not build.same_as(replace(pod, version="x"))


# --- in a world


def publish(world: World, text: str, *, image: str = "", **changes: Any) -> None:
    """Published later than anything before."""
    number = len(world.catalogue)
    world.catalogue.append(
        version(text, name=f"v{number}", created=EPOCH + number, image=image or f"example.com/web:v{number}", **changes)
    )


def quiet(world: World) -> None:
    """Nothing happens any more."""
    before = len(world.writes)
    world.run(3600)
    assert [write for write in world.writes[before:] if write != "status"] == []
    assert condition(world, "UpToDate")["status"] == "True"


def test_publishing_again_in_another_spelling_changes_no_pod():
    world = running(5)
    uids = {pod.uid for pod in world.pods.values()}
    image = world.catalogue[0].image
    publish(world, "01.0", image="example.com/web:other")  # a duplicate of 1.0.0
    quiet(world)
    world.catalogue.clear()
    publish(world, "1", image=image)
    quiet(world)
    assert {pod.uid for pod in world.pods.values()} == uids
    assert world.status["versions"] == "1.0.0"
    assert world.status["latestVersion"] == "1"
    assert "NewVersionAvailable" not in {event.reason for event in world.events}
    world.change(replicas=6)
    world.run(60)
    quiet(world)
    assert world.pods[5].version == "1"
    assert world.status["versions"] == "1.0.0", "one version, shown as most instances have it"


def test_another_image_of_the_version_is_another_image_in_any_spelling():
    world = running(5)
    world.catalogue.clear()
    publish(world, "1.0", image="example.com/web:again")
    world.run(600)
    assert {pod.asked_image for pod in world.pods.values()} == {"example.com/web:again"}
    assert world.status["currentVersion"] == "1.0"


def test_the_spelling_of_a_pin_changes_no_model():
    world = running(5, by=policy(mode="Rolling"))
    pin(world, "1.0.0")
    world.run(600)
    before, uids = models(world), {pod.uid for pod in world.pods.values()}
    for text in ("1", "1.0", "001.0.0.0", "1.0.0"):
        pin(world, text)
        quiet(world)
        apply_model(world, text)
        quiet(world)
    assert models(world) == before
    assert {pod.uid for pod in world.pods.values()} == uids
    assert len(world.models) == 2


def test_a_pin_that_nobody_offers_is_named_as_it_is_written():
    world = running(2)
    pin(world, "07")
    world.run(10)
    assert "offers a version 07 of" in condition(world, "Accepted")["message"]


@pytest.mark.parametrize("again", ["2", "02.0", "2.0.0.0"])
def test_what_failed_is_not_tried_again_in_another_spelling(again):
    world = running(5)
    publish(world, "2.0.0", image=f"example.com/web:2{BAD}")
    world.run(3600)
    assert code(world) == "Faulted"
    world.catalogue.pop()
    writes = len(world.writes)
    publish(world, again, image=f"example.com/web:2{BAD}")
    world.run(3600)
    assert [write for write in world.writes[writes:] if write != "status"] == []
    assert condition(world, "Progressing")["reason"] == "TargetFailed"
    start(world)
    world.run(3600)
    assert len(world.status["failedTargets"]) == 1, "the same target, not another one"


def test_a_version_that_is_published_again_in_a_rollout_is_not_withdrawn():
    world = running(5)
    world.start = 30.0
    publish(world, "2.0.0", image="example.com/web:2")
    world.run(10)
    world.catalogue.pop()
    publish(world, "2", image="example.com/web:2")
    world.run(600)
    assert code(world) == "Completed"
    quiet(world)


@pytest.fixture(scope="module")
def usual_course() -> list[Any]:
    return _course(lambda text: text)


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_course_is_the_same_in_any_spelling(seed, usual_course):
    """Publish, fail, fix, pin, go back, cancel, scale: what is written does not depend on how versions are spelled."""
    chance = random.Random(seed)

    def any_spelling(text: str) -> str:
        """Another one each time that the version is named."""
        parts = number(text)
        shortest = max(n for n, part in enumerate(parts, 1) if part or n == 1)
        return ".".join(str(part).zfill(chance.randint(1, 10)) for part in parts[: chance.randint(shortest, 4)])

    assert _course(any_spelling) == usual_course


def _course(spell: Any) -> list[Any]:
    world = World(spec=spec(replicas=5), policy=policy(mode="Rolling"))
    seen: list[Any] = []

    def look(seconds: float = 900) -> None:
        world.run(seconds)
        failed = [(usual(f["version"]), f["reason"]) for f in world.status.get("failedTargets", ())]
        told = [(c["type"], c["status"], c["reason"]) for c in world.status["conditions"]]
        writes = [write for write in world.writes if write != "status"]  # which shows what is written
        seen.append((writes, models(world), [usual(v) for v in world.versions.values()]))
        seen.append((code(world), failed, told, [event.reason for event in world.events]))

    publish(world, spell("1.0.0"))
    look()
    publish(world, spell("1.2.0"), image=f"example.com/web:1.2{BAD}")
    look()
    publish(world, spell("1.2.0"))  # a duplicate
    look()
    publish(world, spell("1.2.0.1"))
    look()
    pin(world, spell("1.0.0"))
    look()
    pin(world, spell("1.0.0"))
    look()
    world.change(replicas=7)
    look()
    pin(world, "latest")
    look()
    world.start = 30.0
    publish(world, spell("3.0.0"))
    look(10)
    cancel(world)
    look()
    world.catalogue.pop()
    publish(world, spell("3.0.0"), image=f"example.com/web:v{len(world.catalogue)}")
    look()
    return seen
