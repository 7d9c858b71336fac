"""Which nodes pull an image next, and how far each region is."""

import pytest

from scaleset.planner.gallery import Asker, Definition, GalleryVersion, eligible, exact, why_not
from scaleset.planner.replication import (
    PATIENCE,
    Failure,
    Ledger,
    Region,
    Replication,
    Stage,
    decide_replication,
    image_names,
    without_nodes,
)
from tests.simulation.replication import IMAGE, NOW, has, names, node, nodes, only, pod, view

# What is pulled


@pytest.mark.parametrize(
    ("count", "room", "asked"), [(1, 20, 1), (5, 20, 5), (10, 20, 5), (10, 3, 3), (3, 3, 3), (10, 0, 0), (0, 20, 0)]
)
def test_a_few_at_a_time_are_asked(count, room, asked):
    plan = decide_replication(view(*nodes(count), room=room))
    assert len(plan.create) == asked
    assert (plan.wake_at is not None) == (asked == room < count)


@pytest.mark.parametrize(
    "unusable",
    [{"ready": False}, {"schedulable": False}, {"os": "windows"}, {"region": "east"}],
    ids=lambda changes: next(iter(changes)),
)
def test_only_usable_nodes_of_the_region_are_asked_and_waited_for(unusable):
    good, bad = node("a"), node("b", **unusable)
    assert names(decide_replication(view(good, bad)).create) == ["a"]
    region = only(decide_replication(view(good, bad, ledger=has(good))))
    assert (region.state, region.details) == ("Completed", "1 node has the image.")


def test_a_region_is_complete_once_all_its_nodes_have_the_image():
    both = nodes(2)
    region = only(decide_replication(view(*both, ledger=has(*both))))
    assert (region.state, region.details) == ("Completed", "2 nodes have the image.")


def test_regions_come_in_their_order_and_retries_last():
    everywhere = (*nodes(2, "east"), *nodes(2, "west"))
    ledger = Ledger(failures={"uid-west-0000": Failure(1, "no", NOW)})
    plan = decide_replication(view(*everywhere, regions=("west", "east"), ledger=ledger))
    assert names(plan.create) == ["west-0001", "east-0000", "east-0001", "west-0000"]


def test_pods_that_pull_are_waited_for_and_count():
    all_nodes = nodes(7)
    plan = decide_replication(view(*all_nodes, pods=[pod(each) for each in all_nodes[:3]]))
    assert (names(plan.create), plan.delete) == (["west-0003", "west-0004"], ())


def test_a_pod_goes_when_its_node_has_the_image_and_the_next_node_follows():
    all_nodes = nodes(6)
    plan = decide_replication(
        view(*all_nodes, pods=[pod(each) for each in all_nodes[1:5]] + [pod(all_nodes[0], Stage.PULLED)])
    )
    assert [each.node for each in plan.delete] == ["uid-west-0000"]
    assert plan.ledger.done == {"uid-west-0000"}
    assert only(plan) == Region("west", "Replicating", 16, "1 of 6 nodes have the image.")
    plan = decide_replication(view(*all_nodes, pods=[pod(each) for each in all_nodes[1:5]], ledger=plan.ledger))
    assert names(plan.create) == ["west-0005"]


@pytest.mark.parametrize("before", [[], [pod(node("a"), deleting=True)]])
def test_a_node_that_nobody_asks_now_hides_none_of_those_after_it(before):
    plan = decide_replication(view(node("a"), node("b"), pods=[*before, pod(node("b"), Stage.PULLED)]))
    assert plan.ledger.done == {"uid-b"}


def test_a_node_that_lists_the_image_needs_no_pod():
    plan = decide_replication(view(node("a", images=frozenset((IMAGE,)))))
    assert (plan.create, only(plan).state) == ((), "Completed")


def test_an_image_goes_by_its_digest_too():
    assert image_names("example.com:5000/web:1.2.0@sha256:ab") == {
        "example.com:5000/web:1.2.0@sha256:ab",
        "example.com:5000/web@sha256:ab",
    }
    assert image_names(IMAGE) == {IMAGE}


def test_a_node_is_not_asked_again_while_its_last_pod_is_terminating():
    plan = decide_replication(view(node("a"), pods=[pod(node("a"), deleting=True)]))
    assert (plan.create, plan.delete) == ((), ())


@pytest.mark.parametrize(
    "gone", [(), (node("a", ready=False),), (node("a", schedulable=False),), (node("a", region="east"),)]
)
def test_a_node_that_goes_away_is_not_waited_for_and_its_pod_goes(gone):
    plan = decide_replication(view(node("b"), *gone, pods=[pod(node("a"))], ledger=has(node("b"))))
    assert len(plan.delete) == 1
    assert only(plan).state == "Completed"


def test_a_new_node_of_the_same_name_is_another_node():
    again = node("a", uid="another")
    plan = decide_replication(view(again, pods=[pod(node("a"), Stage.PULLED)], ledger=has(node("a"))))
    assert (names(plan.create), len(plan.delete)) == (["a"], 1)
    assert plan.ledger.done == frozenset()


# What goes wrong


@pytest.mark.parametrize("stage", [Stage.TROUBLED, Stage.UNSCHEDULED])
def test_trouble_counts_after_a_minute(stage):
    def look(at: float, ledger: Ledger) -> Replication:
        return decide_replication(
            view(node("a"), pods=[pod(node("a"), stage, message="no")], now=NOW + at, ledger=ledger)
        )

    plan = look(0.0, Ledger())
    assert (plan.delete, plan.wake_at, only(plan).state) == ((), NOW + PATIENCE, "Replicating")
    plan = look(PATIENCE - 0.1, plan.ledger)
    assert (plan.delete, plan.wake_at, only(plan).state) == ((), NOW + PATIENCE, "Replicating")
    plan = look(PATIENCE, plan.ledger)
    assert len(plan.delete) == 1
    assert only(plan) == Region(
        "west", "Failed", 0, "1 of 1 nodes could not pull the image and will be asked again. a: no"
    )
    assert plan.create == ()


def test_trouble_that_passes_is_forgotten():
    first = decide_replication(view(node("a"), pods=[pod(node("a"), Stage.TROUBLED)]))
    calm = decide_replication(view(node("a"), pods=[pod(node("a"))], now=NOW + 50, ledger=first.ledger))
    again = decide_replication(view(node("a"), pods=[pod(node("a"), Stage.TROUBLED)], now=NOW + 70, ledger=calm.ledger))
    assert (again.delete, again.wake_at) == ((), NOW + 70 + PATIENCE)


def test_a_pod_that_ended_without_the_image_failed_at_once():
    plan = decide_replication(view(node("a"), pods=[pod(node("a"), Stage.ENDED, message="Evicted")]))
    assert (len(plan.delete), only(plan).state) == (1, "Failed")
    assert "Evicted" in only(plan).details


def test_failed_nodes_are_asked_again_later_and_later():
    ledger, at, waits = Ledger(), NOW, []
    for _ in range(8):
        ended = pod(node("a"), Stage.ENDED)
        plan = decide_replication(view(node("a"), pods=[ended], now=at, ledger=ledger))
        waits.append(plan.ledger.failures["uid-a"].retry_at - at)
        early = decide_replication(view(node("a"), now=at + waits[-1] - 0.1, ledger=plan.ledger))
        assert (early.create, early.wake_at, only(early).state) == ((), at + waits[-1], "Failed")
        at += waits[-1]
        due = decide_replication(view(node("a"), now=at, ledger=plan.ledger))
        assert (names(due.create), only(due).state) == (["a"], "Failed")
        ledger = due.ledger
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    plan = decide_replication(view(node("a"), pods=[pod(node("a"), Stage.PULLED)], now=at, ledger=ledger))
    assert (only(plan).state, plan.ledger.failures) == ("Completed", {})


def test_a_refused_pod_stops_the_others_until_one_is_accepted():
    refused = Ledger(refused=Failure(1, "exceeded quota", NOW + 30))
    plan = decide_replication(view(*nodes(9), ledger=refused))
    assert (plan.create, plan.wake_at) == ((), NOW + 30)
    assert only(plan).state == "Failed"
    assert only(plan).details.endswith("exceeded quota")
    assert len(decide_replication(view(*nodes(9), ledger=refused, now=NOW + 30)).create) == 1


def test_failed_stays_after_a_restart_until_all_were_asked():
    reported = {"west": Region("west", "Failed", 50, "a: no")}
    plan = decide_replication(view(node("a"), node("b"), reported=reported))
    assert only(plan) == Region("west", "Failed", 0, "a: no")
    plan = decide_replication(
        view(node("a"), node("b"), reported=reported, pods=[pod(node("a"), Stage.PULLED)], ledger=plan.ledger)
    )
    assert only(plan).state == "Failed"
    plan = decide_replication(
        view(node("a"), node("b"), reported=reported, pods=[pod(node("b"), Stage.PULLED)], ledger=plan.ledger)
    )
    assert only(plan).state == "Completed"


# What is said


def test_completed_is_latched():
    reported = {"west": Region("west", "Completed", 100, "1 node has the image.")}
    plan = decide_replication(view(*nodes(3), reported=reported))
    assert (only(plan), plan.create) == (reported["west"], ())
    assert only(decide_replication(view(reported=reported))) == reported["west"]


@pytest.mark.parametrize(
    ("others", "details"),
    [
        ([], "No node is in this region."),
        ([node("a", os="windows")], "No node of this region runs linux."),
        (
            [node("a", ready=False), node("b", schedulable=False)],
            "None of the 2 nodes of this region is Ready and schedulable.",
        ),
    ],
)
def test_a_region_without_usable_nodes_is_unknown(others, details):
    assert only(decide_replication(view(*others))) == Region("west", "Unknown", 0, details)


@pytest.mark.parametrize(
    ("states", "aggregate"),
    [
        ([], "Unknown"),
        (["Completed", "Completed"], "Completed"),
        (["Completed", "Unknown"], "Unknown"),
        (["Completed", "Replicating"], "InProgress"),
        (["Unknown", "Replicating"], "InProgress"),
        (["Completed", "Replicating", "Failed"], "Failed"),
    ],
)
def test_the_worst_region_speaks_for_all(states, aggregate):
    assert Replication(tuple(Region(str(n), state) for n, state in enumerate(states))).aggregate == aggregate


def test_no_target_means_every_region_that_has_nodes():
    everywhere = (*nodes(1, "west"), *nodes(1, "default"), node("x", "bare", schedulable=False))
    plan = decide_replication(view(*everywhere, regions=()))
    assert [region.name for region in plan.summary] == ["west", "default"]
    assert names(plan.create) == ["west-0000", "default-0000"]


def test_default_without_nodes_waits_for_all_the_others():
    east, west = nodes(1, "east"), nodes(1, "west")
    plan = decide_replication(view(*east, *west, regions=(), ledger=has(*west)))
    assert [(r.name, r.state) for r in plan.summary] == [
        ("east", "Replicating"),
        ("west", "Completed"),
        ("default", "Replicating"),
    ]
    assert plan.summary[-1].details == "No node is in this region: it waits for all."
    plan = decide_replication(view(*east, *west, regions=(), ledger=has(*east, *west)))
    assert plan.aggregate == "Completed"
    assert plan.summary[-1].details == "Every region has the image."
    reported = {region.name: region for region in plan.summary}
    later = decide_replication(view(*nodes(1, "north"), regions=(), reported=reported))
    assert {r.name: r.state for r in later.summary} == {
        "east": "Completed",
        "north": "Replicating",
        "west": "Completed",
        "default": "Completed",
    }


def test_without_nodes_what_was_completed_stays():
    reported = {"west": Region("west", "Completed", 100)}
    asked = view(regions=("west", "east"), reported=reported, pods=[pod(node("a"))])
    plan = without_nodes(asked, "may not list nodes", delete=True)
    assert plan.summary == (reported["west"], Region("east", "Unknown", 0, "may not list nodes"))
    assert (plan.aggregate, len(plan.delete), plan.problem) == ("Unknown", 1, "may not list nodes")


# Who waits for it


def test_latest_and_exact_versions_wait_until_the_image_has_arrived():
    definition = Definition("shop", "example", "web", "stable")
    old = GalleryVersion("old", definition, "1.0.0", IMAGE)
    new = GalleryVersion("new", definition, "1.1.0", IMAGE, replicated=frozenset({"west"}))
    west, east = Asker("shop", "west"), Asker("shop", "east")
    assert eligible((old, new), definition, west, now=NOW) == [new, old]
    assert eligible((old, new), definition, east, now=NOW) == [old]
    assert exact((old, new), definition, "1.1.0", west) == new
    assert exact((old, new), definition, "1.1.0", east) is None
    assert why_not(new, east, now=NOW) == "its image is not on the nodes of region east yet"
