"""An index says what a walk over all records would find, after whatever the store was told."""

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from scaleset.kube.store import Index, Store

Key = tuple[str, str]


class Thing(NamedTuple):
    namespace: str
    name: str
    uid: str
    resource_version: str
    of: str
    refers_to: str


def raw(version: int, *, namespace: str, name: str, uid: str, of: str, refers_to: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "of": of, "refersTo": refers_to}


def project(obj: dict[str, Any]) -> Thing:
    metadata = obj["metadata"]
    if obj["refersTo"] == "broken":
        raise ValueError("nobody expected that")
    place = (metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"])
    return Thing(*place, obj["of"], obj["refersTo"])


def referred(thing: Thing) -> Key | None:
    return (thing.namespace, thing.refers_to) if thing.refers_to else None


def belongs(thing: Thing) -> Key | None:
    return (thing.namespace, thing.of) if thing.of else None


class Watched:
    """A store with an index, what the index told of changes, and what it told before."""

    def __init__(self) -> None:
        self.told: list[Key] = []
        self.store = Store(project, belongs)
        self.index: Index[Thing] = Index(referred, on_change=self.told.append)
        self.store.follow(self.index)

    def members(self) -> dict[Key, set[Key]]:
        """By a walk."""
        found: dict[Key, set[Key]] = {}
        for thing in self.store.all():
            if (key := referred(thing)) is not None:
                found.setdefault(key, set()).add((thing.namespace, thing.name))
        return found

    def check(self, before: dict[Key, set[Key]]) -> None:
        walked = self.members()
        assert set(self.index.groups()) == set(walked)
        for key, places in walked.items():
            assert set(self.index.members(key)) == places
            assert self.index.number(key) == len(places)
            assert {id(thing) for thing in self.index.of(key)} == {id(self.store.get(*place)) for place in places}
        for namespace in ("a", "b"):
            for of in ("x", "y"):
                mine = {t.name for t in self.store.all() if belongs(t) == (namespace, of)}
                assert {thing.name for thing in self.store.of((namespace, of))} == mine
        changed = {key for key in walked.keys() | before.keys() if walked.get(key) != before.get(key)}
        assert changed <= set(self.told)
        self.told.clear()


OBJECTS = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from("ab"),
        "name": st.sampled_from("mn"),
        "uid": st.sampled_from("uv"),
        "of": st.sampled_from(["x", "y", ""]),
        "refers_to": st.sampled_from(["p", "q", "", "broken"]),
    }
)
VERSIONS = st.integers(1, 30)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["upsert", "remove", "remember", "believe"]), VERSIONS, OBJECTS),
    st.tuples(st.just("forget"), VERSIONS, OBJECTS),
    st.tuples(
        st.just("list"),
        VERSIONS,
        st.tuples(
            st.lists(st.tuples(VERSIONS, OBJECTS), max_size=4),
            st.sampled_from([None, "a", "b", ("a", "x")]),
            st.lists(st.tuples(st.sampled_from(["remember", "forget"]), VERSIONS, OBJECTS), max_size=2),
        ),
    ),
)


def carry_out(store: Store[Thing], step: Any) -> None:
    what, version, rest = step
    if what == "forget":
        store.forget(rest["namespace"], rest["name"], rest["uid"])
    elif what == "list":
        pages, where, meanwhile = rest
        only: dict[str, Any] = {"group": where} if isinstance(where, tuple) else {"namespace": where}
        with store.listing(store.seen_in(None)) as listing:
            for other in meanwhile:
                carry_out(store, other)
            for of_object, fields in pages:
                namespace = only.get("namespace") or fields["namespace"]
                store.add(listing, [raw(of_object, **{**fields, "namespace": namespace})], version)
            store.finish(listing, **only)
    else:
        getattr(store, what)(raw(version, **rest))


@given(st.lists(STEPS, max_size=25))
def test_an_index_says_what_a_walk_would_find(steps: list[Any]):
    watched = Watched()
    for step in steps:
        before = watched.members()
        carry_out(watched.store, step)
        watched.check(before)


@given(st.lists(STEPS, max_size=12))
def test_an_index_that_comes_later_knows_what_was_there(steps: list[Any]):
    watched = Watched()
    for step in steps:
        carry_out(watched.store, step)
    late: Index[Thing] = Index(referred)
    watched.store.follow(late)
    assert {key: set(late.members(key)) for key in late.groups()} == watched.members()


@given(st.lists(STEPS, max_size=25))
def test_of_one_namespace_the_store_knows_what_a_walk_would_find(steps: list[Any]):
    store = Watched().store
    for step in steps:
        carry_out(store, step)
        for namespace in "ab":
            versions = [int(thing.resource_version) for thing in store.all() if thing.namespace == namespace]
            assert store.seen_in(namespace) == max([store.seen, *versions])


def test_a_record_that_stays_under_its_key_is_no_change():
    watched = Watched()
    fields = {"namespace": "a", "name": "m", "uid": "u", "of": "x"}
    watched.store.upsert(raw(1, **fields, refers_to="p"))
    assert watched.told == [("a", "p")]
    watched.store.upsert(raw(2, **fields, refers_to="p"))
    assert watched.told == [("a", "p")]
    watched.store.upsert(raw(3, **fields, refers_to="q"))
    assert watched.told[1:] == [("a", "p"), ("a", "q")]
    watched.store.upsert(raw(4, **fields, refers_to=""))
    assert watched.told[3:] == [("a", "q")]
