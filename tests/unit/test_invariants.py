"""Every invariant of the cluster tests catches the mistake that it is there for, and nothing else.

A trace is made up from a few lines: what happened to pods, claims and sets, and what the operator wrote.
"""

from typing import Any

import pytest

from tests.cluster.harness import invariants, status_invariants, write_invariants
from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import (
    RELABELLED,
    SET_LABEL,
    VERSION_LABEL,
    Seen,
    Trace,
    Write,
    parse_duration,
    parse_ranges,
)

OLD, NEW, OTHER = "1.0.0", "2.0.0", "3.0.0"


class Story:
    """Builds a trace line by line; every line is one second after the one before."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.writes: list[Write] = []
        self.at = 0.0

    def trace(self, **settings: Any) -> Trace:
        return Trace(tuple(self.seen), tuple(self.writes), **settings)

    def see(self, kind: str, change: str, metadata: Json, **rest: Any) -> "Story":
        self.at += 1
        version = str(100 + len(self.seen))
        self.seen.append(Seen(self.at, change, kind, {"metadata": {**metadata, "resourceVersion": version}, **rest}))
        return self

    def scale_set(
        self,
        *,
        replicas: int = 10,
        change: str = "MODIFIED",
        protected: Any = (),
        generation: int = 1,
        **status: Any,
    ) -> "Story":
        spec = {"replicas": replicas, "upgradePolicyRef": {"name": "p"}, "protectedInstances": list(protected)}
        status = {"observedGeneration": 1, "replicas": replicas, **status}
        metadata = {"name": "web", "uid": "set", "generation": generation}
        return self.see("scalesets", change, metadata, spec=spec, status=status)

    def policy(self, percent: int, timeout: str = "PT5M") -> "Story":
        spec = {"rollingUpgradePolicy": {"maxBatchInstancePercent": percent}, "healthTimeout": timeout}
        return self.see("upgradepolicies", "ADDED", {"name": "p", "uid": "policy"}, spec=spec)

    def pod(
        self,
        instance: int,
        uid: str,
        *,
        change: str = "MODIFIED",
        version: str = OLD,
        ready: bool = False,
        ending: bool = False,
        owner: str = "ScaleSet",
        scale_set: str = "web",
        relabelled: str = "",
    ) -> "Story":
        metadata: Json = {
            "name": f"web-{instance}",
            "uid": uid,
            "labels": {
                "scaleset.dev/name": scale_set,
                "scaleset.dev/instance-id": str(instance),
                "scaleset.dev/image-version": version,
            },
            "ownerReferences": [{"kind": owner, "controller": True, "uid": "set"}],
        }
        if relabelled:
            metadata["labels"][RELABELLED] = relabelled
        if ending:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        conditions = [{"type": "Ready", "status": str(ready)}]
        spec = {"containers": [{"image": f"os:{version}"}]}
        return self.see("pods", change, metadata, spec=spec, status={"conditions": conditions})

    def fleet(self, count: int) -> "Story":
        for instance in range(count):
            self.pod(instance, f"old-{instance}", change="ADDED", ready=True)
        return self

    def take(self, *instances: int) -> "Story":
        """The operator deletes these pods."""
        for instance in instances:
            self.write("delete", "pods", f"web-{instance}", body={"preconditions": {"uid": f"old-{instance}"}})
            self.pod(instance, f"old-{instance}", ending=True)
            self.pod(instance, f"old-{instance}", ending=True, change="DELETED")
        return self

    def give(self, *instances: int, version: str = NEW, ready: bool = True) -> "Story":
        """The operator creates their replacements, which become ready or not."""
        for instance in instances:
            self.write("create", "pods", f"web-{instance}")
            self.pod(instance, f"new-{instance}", change="ADDED", version=version)
            if ready:
                self.pod(instance, f"new-{instance}", version=version, ready=True)
        return self

    def write(
        self,
        verb: str,
        resource: str,
        name: str,
        *,
        group: str = "",
        subresource: str = "",
        body: Json | None = None,
        code: int = 200,
        namespace: str = "ns",
    ) -> "Story":
        self.writes.append(
            Write(verb, resource, group, subresource, namespace, name, code, "scaleset-operator/0", False, body or {})
        )
        return self

    def rollout(
        self,
        code: str = "RollingForward",
        *,
        version: str = NEW,
        run: str = "r1",
        scale_set: Json | None = None,
        **fields: Any,
    ) -> "Story":
        target = {"exactVersion": version, "image": f"os:{version}"}
        counts = {
            count: len(parse_ranges(fields.get(part))) for count, part in status_invariants.COUNTS.items()
        } | fields.pop("progress", {})
        rollout = {
            "id": run,
            "kind": "Image",
            "runningStatus": {"code": code},
            "targetImageReference": target,
            "progress": counts,
            "error": {"message": "why"} if code == "Faulted" else None,
            **fields,
        }
        return self.scale_set(rollingUpgrade=rollout, **(scale_set or {}))


def violations(rules: Any, name: str, trace: Trace) -> list[str]:
    return list(rules[name](trace))


def s(name: str, story: Story, **settings: Any) -> list[str]:
    return violations(invariants.RULES, name, story.trace(**settings))


def w(name: str, story: Story, **settings: Any) -> list[str]:
    return violations(write_invariants.RULES, name, story.trace(**settings))


def t(name: str, story: Story) -> list[str]:
    return violations(status_invariants.RULES, f"S14 {name}", story.trace())


# S1


def begun(replicas: int = 10) -> Story:
    return Story().scale_set(replicas=replicas, change="ADDED").fleet(replicas)


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


def test_s8_up_and_a_restore_are_fine():
    assert s("S8", begun(1).take(0).give(0).pod(0, "x", change="ADDED", version=OLD)) == []


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


# S14


def test_s14_counts_that_add_up():
    assert t("counts", begun().rollout(successful="0-3", inProgress="4,5", pending="6-9")) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"successful": "0-3", "progress": {"successfulInstanceCount": 3}},
        {"successful": "0-3", "failed": "3"},
        {"failed": "1", "restored": "2"},
        {"successful": "0-9", "pending": "10"},
    ],
)
def test_s14_catches_counts_that_do_not(fields: Json):
    assert t("counts", begun().rollout(**fields)) != []


def test_s14_catches_an_end_with_something_left():
    assert t("counts", begun().rollout("Completed", successful="0-8", pending="9")) != []


def test_s14_catches_completed_with_an_old_instance():
    story = begun(2).rollout().take(0).give(0)
    assert t("completed", story.rollout("Completed", run="r2", failed="1", successful="0")) == []
    assert t("completed", story.rollout("Completed", run="r3", successful="0,1")) != []


def test_s14_a_status_speaks_of_the_spec_that_it_observed():
    story = begun(2).scale_set(replicas=1).rollout(scale_set={"replicas": 1}).take(0).give(0)
    end = {"run": "r2", "successful": "0"}
    assert t("completed", story.rollout("Completed", scale_set={"replicas": 2, "generation": 2}, **end)) == []
    end["run"] = "r3"
    resized = {"replicas": 2, "generation": 2, "observedGeneration": 2}
    assert t("completed", story.rollout("Completed", scale_set=resized, **end)) != []


def test_s14_a_pod_that_lost_its_label_is_no_instance():
    def end(scale_set: str, relabelled: str) -> list[str]:
        story = begun(2).rollout().take(0).give(0)
        story.pod(1, "old-1", ready=True, scale_set=scale_set, relabelled=relabelled)
        return t("completed", story.rollout("Completed", successful="0"))

    assert end("", "") == []
    assert end("web", f"{VERSION_LABEL} {SET_LABEL}") == []
    assert end("web", VERSION_LABEL) != []


def test_s14_catches_a_history_out_of_order():
    def attempt(start: str, code: str) -> Json:
        return {"properties": {"runningStatus": {"code": code, "startTime": start}}}

    newer, older = attempt("2026-01-02T00:00:00Z", "RollingForward"), attempt("2026-01-01T00:00:00Z", "Completed")
    assert t("history", Story().scale_set(osUpgradeHistory=[newer, older])) == []
    assert t("history", Story().scale_set(osUpgradeHistory=[older, newer])) != []
    assert t("history", Story().scale_set(osUpgradeHistory=[older] * 6)) != []


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT0S", 0), ("PT5M", 300), ("PT1H30M", 5400), ("P1DT1S", 86401), ("PT0.5S", 0.5)]
)
def test_durations(text: str, seconds: float):
    assert parse_duration(text) == seconds
