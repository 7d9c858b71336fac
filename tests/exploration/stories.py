"""What may happen to a simulated set, each as one line of a script: a name and its arguments.

A story is a set, a script and an ending. Faults are switched on and off, users change their minds, operators die.
`Watched` asks the invariants at every write, `Promised` what users are promised of a whole life; `Story.ends` asks
what must be true once nothing disturbs any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from scaleset.api import names
from scaleset.planner.instances import Pod
from scaleset.planner.snapshot import Verdict
from tests.exploration.promises import Promised
from tests.simulation.outcomes import condition
from tests.simulation.scenes import apply_model, ask, cancel, new_model, pin, start
from tests.simulation.verdicts import running
from tests.simulation.watched import UPGRADED
from tests.simulation.world import policy, spec, version

BROKEN_TAGS = ("-bad", "-late", "-evict", "-crash")
HOUR = 3600.0
Line = tuple[Any, ...]
METHODS = {"in place": "InPlaceIfPossible", "only in place": "InPlaceOnly"}


def by(**shape: Any) -> Any:
    """A policy of that shape."""
    return policy(
        mode=shape["mode"],
        rolling={
            "maxBatchInstancePercent": shape["batch"],
            "maxUnhealthyInstancePercent": shape["room"],
            "maxUnhealthyUpgradedInstancePercent": shape["limit"],
            "prioritizeUnhealthyInstances": shape["priority"],
            "pauseTimeBetweenBatches": shape["pause"],
            "rollbackFailedInstancesOnPolicyBreach": shape["back"],
            "maxSurge": shape["method"] == "surge",
        },
        os={"disableAutomaticRollback": shape["keep"]},
        replacementMethod=METHODS.get(shape["method"], "Recreate"),
        **({"upgradeTimeout": shape["deadline"]} if shape.get("deadline") else {}),
    )


@dataclass
class Story:
    """One set and what has happened to it so far."""

    replicas: int = 5
    born: str = ""
    zones: int = 0
    ordered: bool = False
    """Whether instances are created and removed one after the other."""
    direction: str = "Ascending"
    claims: bool = False
    source: str = "ReadinessProbe"
    """What tells of health."""
    shape: dict[str, Any] = field(default_factory=dict)
    world: Promised = field(init=False)
    newest: int = 1
    revisions: int = 1
    asked: int = 0
    pushed: int = 0
    """How often tags were given other bits."""
    view: dict[int, Pod] | None = None
    by_user: bool = False
    """Whether a user brought a version somewhere, so that it is the user's to take it away again."""

    def __post_init__(self) -> None:
        changes: dict[str, Any] = {"replicas": self.replicas, "zones": [f"z{n}" for n in range(self.zones)]}
        if self.ordered:
            changes["podManagementPolicy"] = "OrderedReady"
        changes["rollingUpgradeOrder"] = {"direction": self.direction}
        if self.claims:
            changes["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {}}]
        if self.source != "ReadinessProbe":
            changes["health"] = {"source": self.source}
        if self.source == "PodCondition":
            changes["health"]["conditionType"] = "example.com/Healthy"
        self.by_user = bool(self.born) or self.shape["keep"] or self.shape["mode"] != "Manual"
        self.world = Promised(spec=spec(**changes), policy=by(**self.shape), reports=True)
        self.world.publish("1.0.0", suffix=self.born)
        self.moves_the_tags()
        self.world.run(30)

    def tell(self, script: list[Line]) -> None:
        """Play the script, and let a moment pass after each line."""
        for name, moment, *arguments in script:
            getattr(self, name)(*arguments)
            if moment is not None:
                self.view = None
                self.world.run(moment)
                self.world.shows_what_runs()

    # --- the operator

    def dies(self, writes: int) -> None:
        self.world.step(writes=writes)

    def remembers(self) -> None:
        self.view = dict(self.world.pods)

    def decides_from_an_old_view(self) -> None:
        if self.view is None:
            return
        plan = self.world.plan(pods=self.view)
        for name, action in self.world.actions(plan):
            self.world.writes.append(name)
            action()
        self.world.dies()
        self.view = None

    # --- pods

    def passes(self) -> None:
        """Nothing but time."""

    def sickens(self, number: int) -> None:
        if number in self.world.pods and self.world.pods[number].ready:
            self.world.sickens(number)

    def breaks(self, number: int) -> None:
        if number in self.world.pods and self.world.pods[number].ready:
            self.world.breaks(number)

    def heals(self) -> None:
        world = self.world
        for numbers in (world.sick, world.broken, world.held, world.leaves, world.rejects, world.deaf):
            numbers.clear()
        world.happen()

    def is_lost(self, number: int) -> None:
        self.world.loses(number)

    def is_deleted(self, number: int) -> None:
        """By others, with a grace period."""
        pod = self.world.pods.get(number)
        if pod is not None and not pod.deleting:
            self.world.pods[number] = replace(pod, deleting=True, deletion_due=self.world.now + self.world.grace)

    def is_evicted(self, number: int) -> None:
        pod = self.world.pods.get(number)
        if pod is not None and not pod.deleting:
            self.world.pods[number] = replace(pod, ended=True, ready=False, running=False, message="evicted")

    def evicts(self, number: int) -> None:
        self.world.leaves.add(number)

    def rejects(self, number: int) -> None:
        self.world.rejects.add(number)

    def does_not_end(self, number: int) -> None:
        self.world.held.add(number)

    def is_deaf(self, number: int) -> None:
        self.world.deaf.add(number)

    def loses_its_node(self, number: int) -> None:
        pod = self.world.pods.get(number)
        if pod is not None:
            self.world.held.add(number)
            due = pod.deletion_due if pod.deleting else self.world.now + self.world.grace
            self.world.pods[number] = replace(pod, reporting=False, deleting=True, deletion_due=due)

    # --- what the API server refuses

    def refuses(self, what: str, words: str | None, number: int | None) -> None:
        """Creates, deletes, changes in place of all or of one instance, or dry runs; no words: not any more."""
        world = self.world

        def says(wanted: Any) -> str | None:
            return words if number is None or wanted.instance == number else None

        if what == "create":
            world.quota = says
        elif what == "delete":
            world.keeps_alive = says
        elif what == "change":
            world.keeps = says
        else:
            quota = bool(words and "quota" in words)
            verdict = Verdict(accepted=words is None, message=words or "", quota=quota)
            if what == "dry run":
                world.admit = lambda _: verdict
            else:
                world.verdict = lambda _: verdict

    # --- users

    def publishes(self, suffix: str) -> None:
        self.newest += 1
        self.world.publish(f"{self.newest}.0.0", suffix=suffix)
        self.moves_the_tags()

    def moves_the_tags(self) -> None:
        """Whoever pulls a tag from now on gets other bits."""
        self.pushed += 1
        tags = {offer.image for offer in self.world.catalogue} | self.world.bits.keys()
        self.world.bits = dict.fromkeys(tags, f"sha256:{self.pushed:064x}")

    def collects_garbage(self) -> None:
        """The registry forgets everything that was pushed before the last time."""
        self.world.gone |= {f"sha256:{number:064x}" for number in range(self.pushed)}

    def excludes(self, excluded: bool) -> None:
        if self.world.catalogue:
            self.world.catalogue[-1] = replace(self.world.catalogue[-1], excluded=excluded)

    def withdraws(self) -> None:
        if len(self.world.catalogue) > 1:
            self.world.catalogue.pop()

    def publishes_again(self, suffix: str) -> None:
        """The newest version with another image."""
        if self.world.catalogue:
            newest = self.world.catalogue.pop().version
            self.asked += 1
            self.world.catalogue.append(version(newest, suffix=f"-{self.asked}{suffix}"))
            self.moves_the_tags()

    def scales(self, replicas: int) -> None:
        self.by_user = self.by_user or replicas > self.world.spec.replicas
        self.world.change(replicas=replicas)

    def prefers(self, numbers: frozenset[int], unhealthy: bool) -> None:
        """Scaling in is to begin with these."""
        policy = {"preferredInstances": sorted(numbers, reverse=True), "prioritizeUnhealthyInstances": unhealthy}
        self.world.change(scale_in_policy=spec(scaleInPolicy=policy).scale_in_policy)

    def protects(self, numbers: frozenset[int], everything: bool) -> None:
        flag = "protectFromScaleSetActions" if everything else "protectFromScaleIn"
        items = spec(protectedInstances=[{"id": n, flag: True} for n in sorted(numbers)]).protected_instances
        self.world.change(protected_instances=items)

    def suspends(self, suspend: bool) -> None:
        self.world.change(suspend=suspend)

    def cancels(self) -> None:
        self.asked += 1
        cancel(self.world, str(self.asked))

    def starts(self) -> None:
        self.by_user = True
        self.asked += 1
        start(self.world, str(self.asked))

    def asks(self, annotation: str) -> None:
        """For a restart, a rollout of the model or another try."""
        self.by_user = True
        self.asked += 1
        ask(self.world, annotation, str(self.asked))

    def goes_back(self, number: int) -> None:
        """The pin and the request in one write."""
        self.pins(number)
        self.asks(names.ANNOTATION_ROLLBACK)

    def halts(self, suspend: bool) -> None:
        """The policy suspends its sets."""
        if self.world.policy is not None:
            self.world.policy = self.world.policy.model_copy(update={"suspend": suspend})

    def applies(self, value: str) -> None:
        self.by_user = True
        self.asked += 1
        apply_model(self.world, f"{value},{10 + self.asked}" if value != "*" else "*" + " " * self.asked)

    def edits_the_model(self, back: int) -> None:
        self.revisions += 0 if back else 1
        new_model(self.world, str(max(1, self.revisions - back)))

    def pins(self, number: int | None) -> None:
        self.by_user = True
        pin(self.world, "latest" if number is None else f"{min(number, self.newest)}.0.0")

    def edits_the_policy(self, shape: dict[str, Any] | None) -> None:
        if shape is not None:
            self.by_user = self.by_user or shape["keep"] or shape["mode"] != "Manual"
        self.world.policy = None if shape is None else by(**shape)

    # --- the ending

    def ends(self) -> None:
        """L1, L4: faults are lifted and a while passes; then a version that works is published."""
        world = self.world
        self.heals()
        for what in ("create", "delete", "change", "dry run", "model"):
            self.refuses(what, None, None)
        world.change(suspend=False, protected_instances=())
        self.halts(False)
        if world.policy is None:
            self.edits_the_policy(dict(self.shape))
        world.run(3 * HOUR)
        world.shows_what_runs()
        self._rests()
        self._left_nobody_behind()
        pin(world, "latest")
        method = "in place" if self.shape["method"] == "only in place" else self.shape["method"]
        self.edits_the_policy({**self.shape, "mode": "Manual", "pause": "PT0S", "method": method, "deadline": None})
        self.publishes("")
        world.run(3 * HOUR)
        world.shows_what_runs()
        self._all_is_well()

    def _rests(self) -> None:
        world, state = self.world, self.world.state
        accepted = condition(world, "Accepted")["status"] == "True"
        stalled = condition(world, "Stalled")["status"] == "True"
        assert running(state) is None or stalled or not accepted, "L1: it runs for ever, and nobody is to act"
        assert not state.applying, f"L1: {sorted(state.applying)} are being replaced for ever"
        stuck = self.ordered and not all(pod.ready for pod in world.pods.values())
        assert len(world.pods) == len(state.builds), "L1: not as many pods as instances"
        assert len(world.pods) == world.spec.replicas or stuck, "L1: not as many instances as wanted"
        for number, pod in world.pods.items():
            assert state.builds[number].same_as(pod), f"S4: {number} does not run what is written down for it"
        if state.retry is None and not state.ended:
            writes = len(world.writes)
            world.run(HOUR / 2)
            assert len(world.writes) == writes, f"S9: it goes on writing: {world.writes[writes:][:9]}"

    def _left_nobody_behind(self) -> None:
        """Where only the platform upgrades and restores, nobody stays on a version that failed: but in an outage, or
        where a batch that was restored did not become healthy either.
        """
        state = self.world.state
        if self.by_user:
            return
        failed = {(f.version, f.image) for f in state.failed_targets if f.reason == UPGRADED}
        told = "".join(str(entry) for entry in self.world.status.get("osUpgradeHistory", ()))
        if "outside the rollout" in told or "became healthy again" in told:
            return
        for number, pod in self.world.pods.items():
            assert pod.ready or (pod.version, pod.asked_image) not in failed, (
                f"4.5: {number} is left on {pod.version}, which failed"
            )

    def _all_is_well(self) -> None:
        world = self.world
        wanted = f"{self.newest}.0.0"
        behind = {n: pod.version for n, pod in world.pods.items() if pod.version != wanted or not pod.ready}
        stalled = condition(world, "Stalled")
        proven = (world.state.current_image or "").endswith(BROKEN_TAGS)
        told = stalled["status"] == "True" and stalled["reason"] == "HealthGateWaiting"
        if told and (self.by_user or proven):
            return  # What users brought where they liked, or broke once it was proven, closes the gate.
        assert len(world.pods) == world.spec.replicas, "L4: not as many instances as wanted"
        assert not behind, f"L4: {behind} are not on {wanted}: {condition(world, 'Progressing')['message']}"
        assert running(world.state) is None, "L1: it runs for ever"
