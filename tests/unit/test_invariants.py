"""Every invariant of the cluster tests catches the mistake that it is there for, and nothing else."""

from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import parse_duration
from tests.unit.story import NEW, OLD, OTHER, Story, begun, s, w

# S1


def test_s1_two_of_ten_at_a_time_are_fine():
    assert s("S1", begun().take(0, 1).give(0, 1).take(2, 3).give(2, 3)) == []


def test_s1_catches_a_third_one():
    assert "web-2" in s("S1", begun().take(0, 1, 2))[0]


def test_s1_catches_a_next_batch_before_the_first_one_is_ready():
    assert s("S1", begun().take(0, 1).give(0).give(1, ready=False).take(2, 3)) != []


def test_s1_a_failed_instance_ends_with_its_health_timeout():
    story = begun().policy(20, "PT5S").take(0, 1).give(0).give(1, ready=False)
    story.at += 5
    assert s("S1", story.take(2)) == []


def test_s1_goes_by_the_policy():
    assert s("S1", begun().policy(30).take(0, 1, 2)) == []
    assert s("S1", begun().policy(10).take(0, 1)) != []


def test_s1_one_is_always_allowed():
    assert s("S1", begun(2).take(0).give(0).take(1)) == []


def test_s1_scaling_in_is_no_replacement():
    assert s("S1", begun().scale_set(replicas=5).take(9, 8, 7, 6, 5)) == []


def test_s1_scaling_in_beside_instances_that_others_took():
    """Two are missing when four leave: the eight that are there are as many as the set is to have."""
    lost = begun()
    for instance in (0, 1):
        lost.pod(instance, f"old-{instance}", ending=True, change="DELETED")
    assert s("S1", lost.scale_set(replicas=6).take(9, 8, 7, 6).give(0, 1).scale_set().give(6, 7, 8, 9)) == []


def test_s1_a_size_that_was_taken_back_at_once():
    """Within one second seven are asked for and ten again, and the operator carries out the one and then the other."""
    story = begun().scale_set(replicas=7).scale_set()
    for instance in (9, 8, 7):
        story.at -= 2
        story.take(instance)
    assert s("S1", story.give(7, 8, 9)) == []


def test_s1_a_set_that_shrank_is_held_to_its_limit():
    assert s("S1", begun().scale_set(replicas=9).take(9, 0).give(0)) == []
    assert s("S1", begun().scale_set(replicas=9).take(9, 0, 1).give(0, 1)) != []


def test_s1_ignores_pods_that_others_deleted():
    story = begun()
    for instance in range(5):
        story.pod(instance, f"old-{instance}", ending=True, change="DELETED")
    assert s("S1", story) == []


# S1 of scaling in


def test_scaling_in_by_batches_is_fine():
    story = begun().scale_set(replicas=6)
    for pair in ((9, 8), (7, 6)):
        going(story, *pair)
        gone(story, *pair)
    assert s("S1 scaling in", story) == []


def test_scaling_in_catches_more_than_a_batch():
    assert "['web-7', 'web-8', 'web-9']" in s("S1 scaling in", going(begun().scale_set(replicas=6), 9, 8, 7))[0]


def test_scaling_in_catches_the_next_ones_before_the_first_are_gone():
    assert s("S1 scaling in", going(gone(going(begun().scale_set(replicas=6), 9, 8), 8), 7, 6)) != []


def test_scaling_in_goes_by_the_set_and_its_policy():
    assert s("S1 scaling in", going(begun().policy(30).scale_set(replicas=6), 9, 8, 7)) == []
    for most in (3, "30%"):
        asked = begun().scale_set(replicas=6)
        asked.seen[-1].object["spec"]["scaleInPolicy"] = {"maxConcurrent": most}
        assert s("S1 scaling in", going(asked, 9, 8, 7)) == []


def test_scaling_in_one_is_always_allowed():
    assert s("S1 scaling in", going(begun(2).scale_set(replicas=0), 1)) == []
    assert s("S1 scaling in", going(begun(2).scale_set(replicas=0), 1, 0)) != []


def going(story: Story, *instances: int) -> Story:
    """The operator deletes their pods, which take their time."""
    for instance in instances:
        uid = f"old-{instance}"
        story.write("delete", "pods", f"web-{instance}", body={"preconditions": {"uid": uid}})
        story.pod(instance, uid, ending=True, change="MODIFIED")
    return story


def gone(story: Story, *instances: int) -> Story:
    for instance in instances:
        story.pod(instance, f"old-{instance}", ending=True, change="DELETED")
    return story


# S1 of a set with maxSurge


def surging(replicas: int = 5, **batch: Any) -> Story:
    """A rollout of a set with maxSurge; `batch` is its running batch."""
    fields: Json = {"policy": {"maxSurge": True}, "batch": batch or None}
    return begun(replicas).rollout(**fields)


def test_surge_catches_an_old_one_that_goes_too_early():
    story = surging(instances="5", surge="5", replaces="0").give(5, ready=False).take(0)
    assert "left 4 ready instances of web, before 5" in s("S1 surge", story)[0]


def test_surge_lets_the_old_one_go_once_the_new_one_is_ready():
    assert s("S1 surge", surging(instances="5", surge="5", replaces="0").give(5).take(0)) == []


def test_surge_knows_what_is_replaced_in_place():
    assert s("S1 surge", surging(instances="0").take(0).give(0)) == []
    assert s("S1 surge", surging(instances="0,5", surge="5", replaces="1").take(1)) != []


def test_surge_does_not_answer_for_what_breaks_by_itself():
    story = surging(instances="5", surge="5", replaces="0").pod(3, "old-3", ready=False).give(5).take(0)
    assert s("S1 surge", story) == []


def test_surge_does_not_answer_for_what_breaks_before_it_is_taken_back():
    """Both new ones break; one is deleted after that, as the operator restores it."""
    story = surging(instances="5", surge="5", replaces="0").give(5).take(0).pod(5, "new-5", version=NEW)
    story.write("delete", "pods", "web-5", body={"preconditions": {"uid": "new-5"}})
    assert s("S1 surge", story.pod(5, "new-5", version=NEW, ending=True)) == []


def test_surge_is_no_rule_for_others():
    assert s("S1 surge", begun(5).rollout().take(0)) == []


# S3, S4


def test_s3_catches_an_upgrade_after_the_breach():
    story = begun().rollout().take(0).give(0, ready=False).rollout("Faulted", failed="0")
    assert s("S3", story) == []
    assert s("S3", story.take(1).give(1)) != []


def test_s3_a_new_rollout_may():
    story = begun().rollout().take(0).give(0).rollout("Faulted", failed="0").rollout(run="r2").take(1).give(1)
    assert s("S3", story) == []


def test_s4_previous_and_target_are_fine():
    assert s("S4", begun().rollout().take(0).give(0).take(1).give(1, version=OLD)) == []


def test_s4_catches_a_third_image():
    assert "os:3.0.0" in s("S4", begun().rollout().take(0).give(0, version=OTHER))[0]


def test_s4_a_successor_goes_back_to_what_its_predecessor_ran():
    story = surging(instances="5", surge="5", replaces="0").give(5).take(0)
    assert s("S4", story.pod(5, "back-5", change="ADDED", version=OLD)) == []
    assert s("S4", story.pod(5, "other-5", change="ADDED", version=OTHER)) != []


def test_s4_says_nothing_outside_a_rollout():
    assert s("S4", begun().take(0).give(0, version=OTHER)) == []


# S5, S6, S8


def test_s5_catches_two_pods_of_an_instance():
    assert s("S5", begun(1).take(0).give(0)) == []
    assert s("S5", begun(1).give(0)) != []


def test_s5_catches_a_force_delete():
    body = {"preconditions": {"uid": "old-0"}, "gracePeriodSeconds": 0}
    assert w("S5", begun(1).take(0)) == []
    assert w("S5", begun(1).write("delete", "pods", "web-0", body=body)) != []


def claims(*events: tuple[str, str]) -> Story:
    story = Story()
    for change, uid in events:
        story.see("persistentvolumeclaims", change, {"name": "data-web-0", "uid": uid})
    return story


def test_s6_catches_a_deleted_claim_and_another_uid():
    assert s("S6", claims(("ADDED", "a"), ("MODIFIED", "a"))) == []
    assert s("S6", claims(("ADDED", "a"), ("DELETED", "a"))) != []
    assert s("S6", claims(("ADDED", "a"), ("MODIFIED", "b"))) != []
    assert s("S6", claims(("ADDED", "a"), ("DELETED", "a")), disturbed=frozenset({"data-web-0"})) == []


def with_a_set(retention: str, *events: str) -> Story:
    """A claim that names the set as its owner, and what becomes of both, line by line."""
    owner = {"name": "data-web-0", "uid": "a", "ownerReferences": [{"kind": "ScaleSet", "uid": "set"}]}
    spec = {"replicas": 1, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": retention}}
    story = Story().see("scalesets", "ADDED", {"name": "web", "uid": "set", "generation": 1}, spec=spec)
    for event in events:
        kind, change = event.split()
        metadata = owner if kind == "claim" else {"name": "web", "uid": "set", "generation": 1}
        story.see({"claim": "persistentvolumeclaims", "set": "scalesets"}[kind], change, metadata, spec=spec)
    return story


def test_s6_a_set_made_with_delete_takes_its_claims_along_and_only_when_it_is_deleted():
    again = ("claim ADDED", "set DELETED", "claim DELETED", "claim ADDED")
    assert s("S6", with_a_set("Delete", *again)) == []
    assert s("S6", with_a_set("Retain", *again)) != []
    assert s("S6", with_a_set("Delete", "claim ADDED", "claim DELETED")) != []
    assert s("S6", with_a_set("Delete", "claim ADDED", "claim DELETED", "claim ADDED", "set DELETED")) != []


def test_s6_catches_an_owner_that_is_added_later():
    assert s("S6", claims(("ADDED", "a")).see("persistentvolumeclaims", "MODIFIED", OWNED)) != []


OWNED = {"name": "data-web-0", "uid": "a", "ownerReferences": [{"kind": "ScaleSet", "uid": "set"}]}


def test_s8_up_and_a_restore_are_fine():
    assert s("S8", begun(1).take(0).give(0).pod(0, "x", change="ADDED", version=OLD)) == []


def test_s8_a_successor_goes_back_to_what_its_predecessor_ran():
    story = surging(instances="5", surge="5", replaces="0").give(5).take(0)
    assert s("S8", story.pod(5, "back-5", change="ADDED", version=OLD)) == []
    assert s("S8", story.pod(5, "older-5", change="ADDED", version="0.9.0")) != []


def test_s8_catches_a_downgrade():
    story = Story().pod(0, "a", change="ADDED", version=NEW).pod(0, "b", change="ADDED", version=OLD)
    assert s("S8", story) != []
    assert s("S8", story, disturbed=frozenset({"web-0"})) == []


def test_s8_compares_numbers():
    assert (
        s("S8", Story().pod(0, "a", change="ADDED", version="1.9.0").pod(0, "b", change="ADDED", version="1.10.0"))
        == []
    )


# S7, S11, S12


def test_s7_catches_a_delete_without_uid():
    assert w("S7", begun(1).take(0)) == []
    assert w("S7", begun(1).write("delete", "pods", "web-0")) != []


def test_s7_catches_a_delete_of_a_foreign_pod():
    story = Story().pod(0, "old-0", change="ADDED", owner="StatefulSet").take(0)
    story.seen = story.seen[:1]
    assert w("S7", story) != []


@pytest.mark.parametrize(
    ("verb", "group", "resource", "subresource"),
    [
        ("delete", "", "persistentvolumeclaims", ""),
        ("update", "", "pods", ""),
        ("create", "", "secrets", ""),
        ("patch", "scaleset.dev", "scalesets", ""),
        ("deletecollection", "", "pods", ""),
    ],
)
def test_s11_catches_what_is_not_ours(verb: str, group: str, resource: str, subresource: str):
    assert w("S11", Story().write(verb, resource, "x", group=group, subresource=subresource)) != []


def test_s11_allows_what_is_ours_in_our_namespace():
    story = Story().write("patch", "scalesets", "web", group="scaleset.dev", subresource="status")
    story.write("update", "leases", "x", group="coordination.k8s.io", namespace="elsewhere")
    assert w("S11", story, namespaces=frozenset({"ns"})) == []
    assert w("S11", story, namespaces=frozenset({"other"})) != []


def test_s11_allows_pods_that_pull_images_in_the_operators_namespace_and_no_others():
    settings = {"namespaces": frozenset({"ns"}), "operator_namespaces": frozenset({"ops"})}
    label = {"metadata": {"labels": {"scaleset.dev/prepull": "uid"}}}
    story = Story().write("create", "pods", "prepull-web", namespace="ops", body=label)
    story.write("delete", "pods", "prepull-web", namespace="ops", body={"preconditions": {"uid": "x"}})
    assert w("S11", story, **settings) == []
    assert w("S12", story, **settings) == []
    assert w("S11", Story().write("create", "pods", "prepull-web", namespace="ops"), **settings) != []
    assert w("S11", Story().write("create", "pods", "web-0", namespace="ops", body=label), **settings) != []
    assert w("S11", Story().write("create", "pods", "prepull-web", namespace="else", body=label), **settings) != []
    assert w("S7", Story().write("delete", "pods", "prepull-web", namespace="ops"), **settings) != []


def test_s12_one_create_and_one_delete_a_pod():
    assert w("S12", begun().take(0).give(0)) == []
    assert w("S12", begun().take(0).write("delete", "pods", "web-0", body={"preconditions": {"uid": "old-0"}})) != []
    assert w("S12", begun().give(0).write("create", "pods", "web-0").write("create", "pods", "web-0")) != []


def test_s12_status_writes_do_not_grow_with_instances():
    story = begun()
    for _ in range(100):
        story.write("patch", "scalesets", "web", group="scaleset.dev", subresource="status")
    assert w("S12", story) != []
    assert w("S12", story, status_writes_per_batch=100) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT0S", 0), ("PT5M", 300), ("PT1H30M", 5400), ("P1DT1S", 86401), ("PT0.5S", 0.5)]
)
def test_durations(text: str, seconds: float):
    assert parse_duration(text) == seconds
