"""The simulated fleet: that it is at rest, that its objects differ, and that a bound which is missed is said."""

import json
from dataclasses import replace

import pytest

from tests.scale.fleet import Fleet
from tests.scale.leader import Figures, Leader, measure
from tests.scale.simulated import judge

SMALL = Fleet(sets=12, instances=3, namespaces=2, policies=4, definitions=3, versions=4, followers=5)


def test_no_two_objects_of_a_fleet_are_one():
    for plural in ("pods", "scalesets", "controllerrevisions", "upgradepolicies", "galleryimageversions"):
        metadata = [json.loads(SMALL.copy(plural, n))["metadata"] for n in range(SMALL.count(plural))]
        assert len({each["uid"] for each in metadata}) == len(metadata)
        assert len({(each["namespace"], each["name"]) for each in metadata}) == len(metadata)
        assert len({each["resourceVersion"] for each in metadata}) == len(metadata)


def test_a_pod_belongs_to_its_set_and_runs_its_model():
    pod, owner, revision = (
        json.loads(SMALL.copy(plural, number))
        for plural, number in (("pods", 7 * 3 + 2), ("scalesets", 7), ("controllerrevisions", 7))
    )
    metadata = pod["metadata"]
    assert metadata["name"] == f"{owner['metadata']['name']}-2"
    assert metadata["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    assert metadata["labels"]["scaleset.dev/model"] == revision["metadata"]["name"]
    assert owner["status"]["builds"] == [
        {
            "model": revision["metadata"]["name"],
            "version": "1.1.0",
            "image": pod["spec"]["containers"][0]["image"],
            "instances": "0-2",
        }
    ]


async def test_a_fleet_at_rest_stays_so_and_each_event_is_seen():
    lines: list[str] = []
    found = await measure(SMALL, batch=3, batches=2, kopf=False, say=lines.append)
    assert found.writes_at_rest == 0
    assert (found.sets, found.pods) == (12, 36)
    assert found.publish_looks >= SMALL.followers
    assert min(found.ignored, found.readiness, found.status, found.publish_event) > 0
    assert found.scrape_mib > 0
    assert not judge([found, found]).missed


async def test_a_write_at_rest_would_be_counted():
    fleet = replace(SMALL, sets=2)
    leader = Leader(fleet)
    body = json.loads(fleet.copy("scalesets", 1))
    body["status"]["healthyReplicas"] = 0
    leader.api._changed["scalesets", 1] = json.dumps(body)
    async with leader.running(kopf=False):
        await leader.until(lambda: leader.api.writes["PATCH scalesets"] == 1)


FIGURES = Figures(
    sets=10,
    pods=100,
    followers=10,
    memory_before=70,
    memory=80,
    memory_peak=90,
    start=1,
    start_wall=2,
    start_longest=0.05,
    start_longest_what="a list",
    writes_at_rest=0,
    kopf=1,
    ignored=1e-4,
    readiness=1e-2,
    status=2e-3,
    publish=1,
    publish_event=1e-3,
    publish_looks=1000,
    longest=0.02,
    longest_what="a watch",
    lists=1,
    lists_longest=0.03,
    lists_longest_what="a list",
    scrape=1,
    scrape_mib=10,
    memory_scraped=100,
)


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"ignored": 1.4e-4}, []),
        ({"ignored": 1.6e-4}, ["event of a pod that means nothing"]),
        ({"readiness": 2e-2}, ["a pod not Ready and Ready again"]),
        ({"publish": 2}, ["version published, each set that follows it"]),
        ({"publish": 2, "publish_looks": 2000}, []),
        ({"publish_event": 2e-3}, ["version published, the event itself, each follower"]),
        ({"publish_event": 2e-3, "followers": 20}, []),
        ({"writes_at_rest": 1}, ["start: writes"]),
        ({"lists_longest": 0.11}, ["lists once more: longest callback"]),
    ],
)
def test_a_bound_that_is_missed_is_said(changed, missed):
    report = judge([FIGURES, replace(FIGURES, **changed)])
    assert [text.partition(": ")[0] for text in report.missed] == [text.partition(": ")[0] for text in missed]
