"""Whatever nodes do, pre-pulling ends with the image everywhere and no pod left."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scaleset.planner.replication import (
    OVERALL,
    PER_VERSION,
    Ledger,
    Node,
    Prepull,
    Region,
    Replication,
    Stage,
    decide_replication,
)
from tests.simulation.replication import NOW, has, names, node, nodes, only, pod, view


@dataclass
class World:
    """Nodes that pull, fail, come and go; the plan is carried out as the executor does it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[str, Prepull] = field(default_factory=dict)
    have: set[str] = field(default_factory=set)
    reported: dict[str, Region] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    now: float = NOW
    created: list[str] = field(default_factory=list)

    def look(self, room: int = OVERALL) -> Replication:
        asked = view(
            *self.nodes.values(),
            regions=("west", "east"),
            reported=self.reported,
            pods=tuple(self.pods.values()),
            now=self.now,
            ledger=self.ledger,
            room=room,
        )
        plan = decide_replication(asked)
        self.check(plan, room)
        self.reported, self.ledger = {region.name: region for region in plan.summary}, plan.ledger
        for gone in plan.delete:
            del self.pods[gone.node]
        for each in plan.create:
            self.pods[each.uid] = pod(each)
            self.created.append(each.uid)
        return plan

    def check(self, plan: Replication, room: int) -> None:
        assert len(plan.create) <= max(0, min(room, PER_VERSION - len(self.pods)))
        assert len({each.uid for each in plan.create}) == len(plan.create)
        for each in plan.create:
            assert each.uid not in self.pods
            assert each.uid not in self.ledger.done
            assert each.ready
            assert each.schedulable
        for region in plan.summary:
            before = self.reported.get(region.name)
            latched = before is not None and before.state == "Completed"
            if latched:
                assert region == before
            elif region.state == "Completed":
                assert self.usable(region.name) <= self.have
                assert self.usable(region.name)
            assert (region.progress == 100) == (region.state == "Completed")

    def usable(self, region: str) -> set[str]:
        return {n.uid for n in self.nodes.values() if n.region == region and n.ready and n.schedulable}

    def happen(self, what: str, number: int) -> None:
        name, region = f"n{number}", ("west", "east")[number % 2]
        uid = f"uid-{name}"
        if what == "add":
            self.nodes.setdefault(uid, node(name, region))
        elif what == "remove":
            self.nodes.pop(uid, None)
            self.have.discard(uid)
        elif what == "cordon" and uid in self.nodes:
            self.nodes[uid] = replace(self.nodes[uid], schedulable=not self.nodes[uid].schedulable)
        elif what == "wait":
            self.now += number
        elif what == "restart":
            self.ledger = Ledger()
        elif what in set(Stage):
            self.pull(uid, Stage(what))

    def pull(self, uid: str, stage: Stage) -> None:
        if uid in self.pods:
            self.pods[uid] = replace(self.pods[uid], stage=stage)
            if stage is Stage.PULLED:
                self.have.add(uid)


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 11)),
    st.tuples(st.just("remove"), st.integers(0, 11)),
    st.tuples(st.just("cordon"), st.integers(0, 11)),
    st.tuples(st.sampled_from(list(Stage)), st.integers(0, 11)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 61, 900])),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("crowd"), st.integers(0, 5)),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_it_ends_with_the_image_everywhere_and_no_pod(steps):
    world = World()
    for what, number in steps:
        world.happen(what, number)
        world.look(room=number if what == "crowd" else OVERALL)
    for _ in range(60):
        for uid in list(world.pods):
            world.pull(uid, Stage.PULLED)
        plan = world.look()
        if not plan.create and not world.pods:
            if plan.wake_at is None:
                break
            world.now = plan.wake_at
    assert world.pods == {}
    for region in world.reported.values():
        assert region.state == ("Completed" if region.progress == 100 else "Unknown")
        assert region.state == "Completed" or not world.usable(region.name)


def test_every_node_is_asked_once_when_nothing_goes_wrong():
    world = World(nodes={each.uid: each for each in (*nodes(23, "west"), *nodes(9, "east"))})
    while not all(region.state == "Completed" for region in world.look().summary):
        for uid in list(world.pods):
            world.pull(uid, Stage.PULLED)
    assert sorted(world.created) == sorted(world.nodes)
    assert world.pods == {}


def test_five_thousand_nodes_do_not_hurt():
    many = nodes(5000)
    asked = view(*many, ledger=has(*many[:2500]), pods=[pod(each) for each in many[2500:2503]])
    plan = decide_replication(asked)
    assert (only(plan).progress, names(plan.create)) == (50, ["west-2503", "west-2504"])
