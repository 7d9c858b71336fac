"""Merging what watches, lists and our own writes say, in every order."""

import itertools
import random
from typing import Any, NamedTuple

import pytest

from scaleset.kube import store as store_module
from scaleset.kube.store import Store

KEY = ("a", "web")


class Pod(NamedTuple):
    namespace: str
    name: str
    uid: str
    resource_version: str
    group: str


def raw(name: str, version: int, uid: str = "u", *, group: str = "web", namespace: str = "a") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "group": group}


def project(obj: dict[str, Any]) -> Pod:
    metadata = obj["metadata"]
    return Pod(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"], obj["group"])


def new() -> Store[Pod]:
    return Store(project, lambda pod: (pod.namespace, pod.group) if pod.group else None)


def names(store: Store[Pod]) -> list[tuple[str, str, str]]:
    return sorted((pod.name, pod.uid, pod.resource_version) for pod in store.all())


def relist(store: Store[Pod], raws: list[dict[str, Any]], version: int, *, namespace: str | None = None) -> set[Any]:
    with store.listing(store.seen_in(namespace)) as listing:
        store.add(listing, raws, version)
        return set(store.finish(listing, namespace=namespace))


def test_the_newer_version_wins_and_the_same_one_changes_nothing():
    store = new()
    assert store.upsert(raw("web-0", 5)) == {KEY}
    assert store.upsert(raw("web-0", 5)) == set()
    assert store.upsert(raw("web-0", 4)) == set()
    assert store.upsert(raw("web-0", 10)) == {KEY}, "as numbers: 10 is newer than 5"
    assert names(store) == [("web-0", "u", "10")]


def test_a_record_that_changes_its_key_wakes_both():
    store = new()
    store.upsert(raw("web-0", 5))
    assert store.upsert(raw("web-0", 6, group="db")) == {KEY, ("a", "db")}
    assert store.of(KEY) == []
    assert store.upsert(raw("web-0", 7, group="")) == {("a", "db")}
    assert len(store.all()) == 1
    assert store.remove(raw("web-0", 8, group="")) == set()
    assert not store.all()


def test_an_answered_create_is_seen_at_once_and_an_older_event_does_not_take_it_back():
    store = new()
    store.upsert(raw("web-0", 5, "old"))
    assert store.remember(raw("web-0", 9, "new")) == {KEY}
    assert store.upsert(raw("web-0", 7, "old")) == set()
    assert store.remove(raw("web-0", 8, "old")) == set()
    assert names(store) == [("web-0", "new", "9")]


def test_what_is_gone_is_not_brought_back_by_an_older_event():
    store = new()
    store.upsert(raw("web-0", 5))
    assert store.forget("a", "web-0", "u") == {KEY}
    assert store.upsert(raw("web-0", 6)) == set()
    assert store.remove(raw("web-0", 7)) == set()
    assert store.upsert(raw("web-0", 8, "next")) == {KEY}
    assert store.forget("a", "web-0", "u") == set(), "another object of that name is not meant"
    assert names(store) == [("web-0", "next", "8")]


def test_an_object_whose_labels_match_again_comes_back():
    store = new()
    store.upsert(raw("web-0", 5))
    store.remove(raw("web-0", 6))
    assert store.upsert(raw("web-0", 5)) == set()
    assert store.upsert(raw("web-0", 7)) == {KEY}


def test_a_deletion_of_the_next_object_means_that_the_one_before_is_gone_too():
    store = new()
    store.upsert(raw("web-0", 5, "first"))
    assert store.remove(raw("web-0", 9, "second")) == {KEY}
    assert names(store) == []


def test_any_order_and_duplication_of_messages_ends_the_same():
    """Row 30: messages about several objects, shuffled and repeated."""
    messages = [
        ("upsert", raw("web-0", 1, "a")),
        ("upsert", raw("web-0", 4, "a")),
        ("remove", raw("web-0", 6, "a")),
        ("upsert", raw("web-0", 7, "b")),
        ("upsert", raw("web-1", 2, "c")),
        ("remove", raw("web-1", 5, "c")),
        ("upsert", raw("web-2", 3, "d")),
    ]
    for order in itertools.permutations(messages):
        store = new()
        for method, obj in order:
            getattr(store, method)(obj)
        assert names(store) == [("web-0", "b", "7"), ("web-2", "d", "3")]
    chance = random.Random(1)
    for _ in range(500):
        store = new()
        for method, obj in chance.sample(messages * 3, k=len(messages) * 3):
            getattr(store, method)(obj)
        assert names(store) == [("web-0", "b", "7"), ("web-2", "d", "3")]


def test_a_list_removes_what_it_does_not_contain_and_wakes_each_key_once():
    store = new()
    for number in range(3):
        store.upsert(raw(f"web-{number}", number + 1, f"u{number}"))
    store.upsert(raw("db-0", 4, "v", group="db"))
    changed = relist(store, [raw("web-0", 1, "u0"), raw("db-0", 4, "v", group="db")], 9)
    assert changed == {KEY}
    assert names(store) == [("db-0", "v", "4"), ("web-0", "u0", "1")]
    assert relist(store, [raw("web-0", 1, "u0"), raw("db-0", 4, "v", group="db")], 9) == set()
    assert store.upsert(raw("web-1", 2, "u1")) == set(), "an event from before the list"


def test_a_write_answered_while_the_list_was_on_its_way_survives_it():
    store = new()
    store.upsert(raw("web-1", 3, "u1"))
    with store.listing(store.seen) as listing:
        store.add(listing, [raw("web-1", 3, "u1")], 5)
        store.remember(raw("web-0", 7, "new"))
        store.forget("a", "web-1", "u1")
        store.add(listing, [raw("web-1", 3, "u1")], 5)
        store.finish(listing)
    assert names(store) == [("web-0", "new", "7")]


def test_what_was_said_not_to_exist_comes_back_with_a_list_that_was_asked_for_later():
    store = new()
    store.upsert(raw("web-0", 3, "u"))
    store.forget("a", "web-0", "u")
    assert relist(store, [raw("web-0", 3, "u")], 5) == {KEY}
    assert names(store) == [("web-0", "u", "3")]


def test_a_list_of_one_namespace_leaves_the_others_alone():
    store = new()
    store.upsert(raw("web-0", 1, "u"))
    store.upsert(raw("web-0", 2, "v", namespace="b"))
    assert relist(store, [], 5, namespace="b") == {("b", "web")}
    assert [pod.namespace for pod in store.all()] == ["a"]


def test_a_list_of_one_key_leaves_the_others_alone():
    store = new()
    store.upsert(raw("web-0", 1, "u"))
    store.upsert(raw("db-0", 2, "v", group="db"))
    with store.listing(0) as listing:
        store.add(listing, [], 5)
        assert store.finish(listing, group=("a", "db")) == {("a", "db")}
    assert names(store) == [("web-0", "u", "1")]


def test_a_restored_etcd_is_the_truth_even_with_lower_versions():
    """Row 23: a pod deleted since the backup is back, one created since is gone, one changed since is as it was."""
    store = new()
    store.upsert(raw("web-0", 100, "kept"))
    store.upsert(raw("web-1", 110, "created-since"))
    store.upsert(raw("web-2", 90, "deleted-since"))
    store.remove(raw("web-2", 120, "deleted-since"))
    changed = relist(store, [raw("web-0", 50, "kept"), raw("web-2", 60, "deleted-since")], 70)
    assert changed == {KEY}
    assert names(store) == [("web-0", "kept", "50"), ("web-2", "deleted-since", "60")]
    assert store.seen == 70
    store.upsert(raw("web-0", 71, "kept"))
    assert names(store)[0] == ("web-0", "kept", "71")


def test_a_restored_etcd_that_has_counted_past_what_we_had_seen_is_noticed_object_by_object():
    """A minute after the restore its versions are higher than all that we know, but those of old objects are not."""
    store = new()
    store.upsert(raw("web-0", 40))
    store.upsert(raw("web-1", 42, "undone"))
    store.remove(raw("web-2", 45, "deleted"))
    assert relist(store, [raw("web-0", 7), raw("web-1", 50, "anew"), raw("web-2", 8, "deleted")], 90) == {KEY}
    assert names(store) == [("web-0", "u", "7"), ("web-1", "anew", "50"), ("web-2", "deleted", "8")]
    assert store.upsert(raw("web-0", 91)) == {KEY}


def test_a_restored_etcd_is_noticed_namespace_by_namespace():
    store = new()
    store.upsert(raw("web-0", 100, "u"))
    store.upsert(raw("web-0", 110, "v", namespace="b"))
    relist(store, [raw("web-0", 50, "u")], 70, namespace="a")
    relist(store, [raw("web-0", 55, "v", namespace="b")], 71, namespace="b")
    assert sorted(pod.resource_version for pod in store.all()) == ["50", "55"]


def test_one_object_that_cannot_be_projected_blinds_us_for_no_other(caplog):
    store = new()
    broken = raw("web-0", 5)
    del broken["group"]
    assert store.upsert(broken) == set()
    assert store.upsert(raw("web-1", 6)) == {KEY}
    assert "projection_failed object=a/web-0" in caplog.text


def test_tombstones_do_not_pile_up(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(store_module, "monotonic", lambda: now)
    store = new()
    for number in range(100):
        now += 10
        store.remove(raw("web-0", number + 1, f"u{number}"))
    assert len(store._tombstones) == 61


def test_nobody_hears_of_a_change_that_is_none():
    store = Store(project, lambda pod: (pod.namespace, pod.group), same=lambda a, b: a.group == b.group)
    assert store.upsert(raw("web-0", 1)) == {KEY}
    assert store.upsert(raw("web-0", 2)) == frozenset()
    assert names(store) == [("web-0", "u", "2")]
    assert store.of(KEY) == store.all()
    assert store.upsert(raw("web-0", 3, group="db")) == {KEY, ("a", "db")}
    assert store.upsert(raw("web-0", 4, "another", group="db")) == {("a", "db")}
    assert store.remove(raw("web-0", 5, "another", group="db")) == {("a", "db")}
