"""The condition EndOfLife of a version, which the admission policy for safetyProfile reads."""

from typing import Any

import pytest

from scaleset.api.moments import timestamp
from tests.unit.controllers.gallery import NOW, Gallery

BLOCKED = {"blockDeletionBeforeEndOfLife": True}


def ending(at: float) -> dict[str, Any]:
    return {"publishingProfile": {"endOfLifeDate": timestamp(at)}}


def end_of_life(gallery: Gallery, name: str) -> tuple[str, str, int] | None:
    found = gallery.api.objects[f"a/{name}"]["status"]["conditions"]
    told = [each for each in found if each["type"] == "EndOfLife"]
    return (told[0]["status"], told[0]["reason"], told[0]["observedGeneration"]) if told else None


async def test_the_end_is_told_when_it_comes(api, client):
    gallery = Gallery(api, client)
    name = gallery.publish("1.0.0", **ending(NOW + 60))
    (wait,) = (await gallery.settle()).values()
    assert wait == 60
    told = end_of_life(gallery, name)
    assert told is not None
    assert told[:2] == ("False", "BeforeEndOfLife")
    gallery.now += wait
    assert list((await gallery.settle()).values()) == [None]
    assert end_of_life(gallery, name) == ("True", "EndOfLifeReached", told[2])


@pytest.mark.parametrize(
    "spec", [{}, {"safetyProfile": {}}, {"safetyProfile": {"blockDeletionBeforeEndOfLife": False}}]
)
async def test_a_version_without_an_end_that_anybody_asks_for_has_no_condition(api, client, spec):
    gallery = Gallery(api, client)
    name = gallery.publish("1.0.0", **spec)
    await gallery.settle()
    assert end_of_life(gallery, name) is None


async def test_a_guard_without_a_date_holds_for_ever_and_the_condition_goes_with_it(api, client):
    gallery = Gallery(api, client)
    name = gallery.publish("1.0.0", safetyProfile=BLOCKED)
    await gallery.settle()
    told = end_of_life(gallery, name)
    assert told is not None
    assert told[:2] == ("False", "NoEndOfLifeDate")
    assert gallery.publish("1.0.0") == name
    await gallery.settle()
    assert end_of_life(gallery, name) is None


async def test_an_end_that_is_put_off_is_of_the_new_generation(api, client):
    gallery = Gallery(api, client)
    name = gallery.publish("1.0.0", safetyProfile=BLOCKED, **ending(NOW - 1))
    await gallery.settle()
    before = end_of_life(gallery, name)
    gallery.publish("1.0.0", safetyProfile=BLOCKED, **ending(NOW + 1))
    await gallery.settle()
    after = end_of_life(gallery, name)
    assert before is not None
    assert after is not None
    assert (before[:2], after[:2]) == (("True", "EndOfLifeReached"), ("False", "BeforeEndOfLife"))
    assert after[2] > before[2]
