"""What is measured, who can be chosen, and what is read from files."""

import pytest

from bench.contenders import CONTENDERS, DEFAULTS, RAISED, chosen, image
from bench.measure import BAD, FIRST, count
from bench.plan import SIZES, left, rollouts, rounds
from bench.results import Results, Rollout
from bench.surroundings import required, versions
from tests.cluster.harness.trace import Write


def keys(one_by_one: bool) -> list[tuple[str, str, int, float]]:
    steps = rollouts(CONTENDERS, SIZES, one_by_one=one_by_one)
    return [
        (entry.contender.name, limits, entry.replicas, step.start)
        for step in steps
        for entry in step.entries
        for limits in step.limits
    ]


def test_the_order_changes_nothing_of_what_is_measured():
    assert sorted(keys(one_by_one=True)) == sorted(keys(one_by_one=False))
    assert len(keys(one_by_one=True)) == len(set(keys(one_by_one=True))) == 2 * 3 + 5 * 2 * 3 + 1 + 3


def test_only_rollouts_that_wait_most_of_the_time_share_the_machine():
    steps = rollouts(CONTENDERS, SIZES, one_by_one=False)
    together = [step for step in steps if step.together]
    assert [max(entry.replicas for entry in step.entries) for step in together] == [500, 500, 1000, 1000]
    assert {limits for step in together for limits in step.limits} == {DEFAULTS}
    waiting = [entry.contender for step in together for entry in step.entries]
    assert all(RAISED in each.limits or each.one_by_one for each in waiting)
    assert not any(step.together for step in rollouts(CONTENDERS, SIZES, one_by_one=True))


def test_what_is_compared_is_measured_one_after_the_other():
    steps = rollouts(CONTENDERS, SIZES, one_by_one=True)
    sizes = [step.entries[0].replicas for step in steps if step.start == 1 and not step.entries[0].contender.one_by_one]
    assert sizes == sorted(sizes)


def test_a_slow_contender_is_measured_without_others_to_share_with():
    steps = rollouts(chosen("statefulset-ordered"), (20, 100), one_by_one=False)
    assert [[entry.replicas for entry in step.entries] for step in steps] == [[20]]


def test_a_round_has_nobody_twice_that_serves_all_namespaces():
    found = rounds(CONTENDERS)
    assert sorted(each.name for those in found for each in those) == sorted(each.name for each in CONTENDERS)
    assert len(found) == 2
    for those in found:
        taken = [each.alone_with for each in those if each.alone_with]
        assert len(taken) == len(set(taken))


def test_what_failed_is_measured_again_on_resume():
    step = rollouts(chosen("deployment"), (100,), one_by_one=False)[0]
    results = Results(about={})
    assert left(step, results) == step
    results.add(Rollout("deployment", RAISED, 100, 1.0, seconds=7.0))
    results.add(Rollout("deployment", DEFAULTS, 100, 1.0, error="not in time"))
    again = left(step, results)
    assert again is not None
    assert again.limits == (DEFAULTS,)
    results.add(Rollout("deployment", DEFAULTS, 100, 1.0, seconds=16.0))
    assert left(step, results) is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("ours", ["ours", "ours-in-place"]),
        ("ours-in-place", ["ours-in-place"]),
        ("argo-rollouts, kruise", ["kruise-statefulset", "kruise-cloneset", "argo-rollouts"]),
        ("", [each.name for each in CONTENDERS]),
    ],
)
def test_choosing(names, found):
    assert [each.name for each in chosen(names)] == found


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no contender 'openshift'; choose of ours, ours-in-place, statefulset"):
        chosen("ours,openshift")


def test_the_tags_decide_how_containers_behave():
    assert ":1.0.0-fast@" in image(FIRST)
    assert ":1.9.0-bad@" in image(BAD)


def test_every_touch_changes_something():
    for contender in CONTENDERS:
        assert contender.touch(1) != contender.touch(2)


def write(resource: str, subresource: str = "", code: int = 200) -> Write:
    return Write("patch", resource, "", subresource, "ns", "web", code, "agent", dry_run=False, body={})


def test_writes_that_took_effect_are_counted_by_resource():
    writes = [write("pods"), write("pods"), write("pods", code=409), write("leases"), write("deployments", "status")]
    assert count(writes) == {"pods": 2, "deployments/status": 1}


def test_versions_are_those_that_are_pinned():
    found = versions()
    assert all(found[name].startswith("v") for name in ("Kubernetes", "OpenKruise", "Argo Rollouts"))


@pytest.mark.parametrize(
    "text", ["require a.b/c v1.2.3", "require (\n\ta.b/c v1.2.3\n)", "require a.b/c v1.2.3 // why"]
)
def test_a_required_version(text):
    assert required(text, "a.b/c") == "v1.2.3"


def test_a_module_that_is_not_required():
    with pytest.raises(ValueError, match="requires no x"):
        required("require a.b/c v1.2.3", "x")
