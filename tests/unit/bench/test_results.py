"""Rows, their arithmetic, and how they are kept."""

from pathlib import Path

import pytest

from bench.results import BadImage, Results, Rollout, batches


@pytest.mark.parametrize(
    ("replicas", "number"), [(1, 1), (4, 4), (5, 5), (9, 9), (10, 5), (99, 6), (100, 5), (1000, 5)]
)
def test_batches_of_a_fifth(replicas, number):
    assert batches(replicas) == number


def test_overhead_is_what_the_start_of_instances_does_not_explain():
    row = Rollout("ours", "defaults", 1000, 10.0, seconds=54.5, writes={"pods": 2000, "events": 40})
    assert (row.pure, row.overhead, row.writes_per_instance) == (50, 4.5, 2.04)
    assert Rollout("ours", "defaults", 1000, 10.0, error="not in time").overhead is None


def test_a_row_takes_the_place_of_an_earlier_one_about_the_same():
    results = Results(about={})
    results.add(Rollout("ours", "defaults", 100, 1.0, error="not in time"))
    results.add(Rollout("ours", "defaults", 100, 10.0, seconds=52.0))
    results.add(Rollout("ours", "defaults", 100, 1.0, seconds=6.0))
    results.add(BadImage("ours", 100, 20.0, error="not in time"))
    results.add(BadImage("ours", 100, 20.0, alone=22.0))
    found = results.rollout("ours", "defaults", 100, 1.0)
    assert found is not None
    assert found.seconds == 6.0
    assert len(results.rollouts) == 2
    assert [each.alone for each in results.bad_images] == [22.0]


def test_what_is_saved_is_loaded(tmp_path: Path):
    path = tmp_path / "new" / "results.json"
    results = Results(about={"versions": {"kwok": "v1"}})
    results.add(Rollout("ours", "defaults", 100, 1.0, seconds=6.25, writes={"pods": 200}, together=True))
    results.add(BadImage("ours", 100, 20.0, exposed=20, human="set the image back", helped=3.5))
    results.save(path)
    assert Results.load(path) == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"about": {}, "rollouts": [{"what": 1}], "badImages": []}'])
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="delete it and measure again"):
        Results.load(path)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match="is not there: measure first"):
        Results.load(tmp_path / "results.json")
