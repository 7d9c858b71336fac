"""What users are promised of a whole life of a set, where `Watched` asks about one write after another.

| promise | asked |
|---|---|
| VERSION is the version of the majority when nothing runs | whenever a world has come to rest: `shows_what_runs` |
| what failed is tried again only by a start by hand, a retry, or an edit of what it was judged by | at every status |
| scaling in never has more than a batch terminating | at every deletion |
| a release that changes image and template replaces each instance once | of `born`, the pods that were made |

Nothing of the operator's memory is believed: what failed is kept here, and so is the size that a set comes from.
`came_up` counts the situations that the promises are about, so that a test can tell whether it met any.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scaleset.planner.instances import Build
from scaleset.planner.plan import Creation, Deletion
from scaleset.planner.state import NOBODY, Code, Kind, StartedBy, State
from scaleset.planner.targets import FailedTarget, Target
from tests.simulation.verdicts import figures, parts, running
from tests.simulation.watched import Watched

BY_USER = ("Cancelled", "RolledBack")
"""Reasons that are no verdict: what works may still be gone back to."""
CONDEMNED = "a target failed or was cancelled"
KEPT_BACK = "a status was written while a target that failed could be had"
ONE_VERSION = "a set at rest on one version"
MIXED = "a set at rest on several versions"
TERMINATING = "scaling in had a whole batch terminating and more to take"

Key = tuple[Any, ...]
Rule = tuple[Any, ...]


def key_of(target: Target | FailedTarget) -> Key:
    """What failed: an image of a version, whatever the model; without a version the model."""
    if target.version is None:
        return ("model", target.model)
    return ("version", parts(target.version), target.image)


def key_of_build(build: Build) -> Key:
    return ("version", parts(build.version), build.image)


@dataclass
class Promised(Watched):
    """One life of a set and the promises about it."""

    came_up: Counter[str] = field(default_factory=Counter)
    condemned: dict[Key, Rule] = field(default_factory=dict)
    """What failed or was cancelled, and the rule that it was judged by."""
    comes_from: int | None = None
    """How many instances there were when scaling in began."""
    born: list[tuple[int, str, str]] = field(default_factory=list)
    """The pods that were made: instance, version, model."""
    read: tuple[Mapping[str, Any], State] | None = None
    """The status as it was read last, and what it says."""

    @property
    def state(self) -> State:
        """Read once a status: the promises ask for it again and again."""
        if self.read is None or self.read[0] is not self.status:
            self.read = (self.status, super().state)
        return self.read[1]

    def _write(self, status: Mapping[str, Any]) -> None:
        before = self.state
        super()._write(status)
        after = self.state
        self._condemn(before, after)
        self._not_again(before, after)
        self._shrinks(before, after)
        self._chosen_first(before, after)

    def create(self, creation: Creation) -> None:
        new = creation.instance not in self.pods
        if new and creation.instance not in self.state.builds:
            self._born_on(creation.instance, creation.build)
        super().create(creation)
        if new and creation.instance in self.pods:
            self.born.append((creation.instance, creation.build.version, creation.build.model))

    def delete(self, deletion: Deletion) -> None:
        super().delete(deletion)
        if deletion.instance not in self.state.builds:
            self._within_a_batch()

    # --- what failed

    def _condemn(self, before: State, after: State) -> None:
        """Keep what failed, and let go what a run proves, or what the user has forgotten. An entry that the operator
        loses stays here.
        """
        if before.handled_retry != after.handled_retry:
            self.condemned.clear()
        for failed in set(after.failed_targets) - set(before.failed_targets):
            self.condemned[key_of(failed)] = self.rule(failed.model)
            self.came_up[CONDEMNED] += 1
        run, was = after.rollout, running(before)
        if run is not None and was is not None and run.code is Code.COMPLETED:
            self.condemned.pop(key_of(run.target), None)

    def rule(self, model: str) -> Rule:
        """What a verdict depends on: the model but for the version, and of the policy timeouts and limits."""
        known = self.models.get(model)
        return (*figures(self.policy, self.source), known.rest if known is not None else model)

    def holds(self, key: Key, model: str) -> bool:
        """Whether that was judged, and by what is still the rule."""
        return key in self.condemned and self.condemned[key] == self.rule(model)

    def _not_again(self, before: State, after: State) -> None:
        run, was = after.rollout, before.rollout
        if run is not None and (was is None or was.id != run.id) and run.started_by is StartedBy.PLATFORM:
            assert not self.holds(key_of(run.target), run.target.model), "4.7: a run to what failed"
        self.came_up[KEPT_BACK] += any(self.holds(key_of_build(b), b.model) for b in self._to_be_had())
        if after.proven is None or before.handled_apply != after.handled_apply:
            return  # There is nothing to protect yet, or somebody named the instances that are to have it.
        goes_on = running(after) is not None and run is not None and was is not None and was.id == run.id
        by_hand = running(after) is not None and run is not None and run.started_by is StartedBy.USER
        for number, new in after.builds.items():
            old = before.builds.get(number)
            if old == new or (by_hand and run is not None and number in run.in_progress):
                continue
            if goes_on and run is not None and number in run.in_progress and key_of_build(new) == key_of(run.target):
                continue  # A run keeps the policy that it began with, so an edit that is taken back does not stop it.
            if old is None:
                continue  # Its build is written down once its pod is there: `create` asks about it.
            if new == before.previous.get(number):
                self._back_to(number, new, after)
            else:
                again = key_of_build(old) != key_of_build(new) and self.holds(key_of_build(new), new.model)
                assert not again, f"4.7: {number} is taken to {new.version}, which failed"
                again = (
                    number in after.applying and old.model != new.model and self.holds(("model", new.model), new.model)
                )
                assert not again, f"4.7: {number} is taken to a model that failed"

    def _to_be_had(self) -> list[Build]:
        return [Build(self.model.name, v.version, v.image) for v in self.catalogue if not v.excluded]

    def _born_on(self, number: int, new: Build) -> None:
        """A new instance is not the first one of what failed, unless that is pinned or there is nothing else."""
        if self.state.proven is None or not self.models[new.model].reference.moving:
            return
        others = [build for build in self.state.builds.values() if key_of_build(build) != key_of_build(new)]
        if others:
            assert not self.holds(key_of_build(new), new.model), f"4.7: {number} is born on {new.version}, which failed"

    def _back_to(self, number: int, new: Build, after: State) -> None:
        """A pin, or its end, never leads back to what failed."""
        run = after.rollout
        if run is None or not run.version_only or number not in run.restoring:
            return
        by_user = [f for f in after.failed_targets if key_of(f) == key_of_build(new) and f.reason in BY_USER]
        assert by_user or not self.holds(key_of_build(new), new.model), (
            f"4.7: {number} goes back to {new.version}, which failed"
        )

    # --- scaling in

    @property
    def surging(self) -> frozenset[int]:
        run = running(self.state)
        batch = run.batch if run is not None else None
        return batch.surge | batch.replaces if batch is not None else NOBODY

    @property
    def surplus(self) -> int:
        """How many instances are still to go."""
        spared = {i.id for i in self.spec.protected_instances if i.keeps_from_scale_in}
        run = running(self.state)
        new = run.batch.surge if run is not None and run.batch is not None else NOBODY
        counted = self.state.builds.keys() - new
        return min(len(counted) - self.spec.replicas, len(counted - spared))

    @property
    def size(self) -> int:
        """The size from which the set is scaled in."""
        return max(self.comes_from or 0, self.spec.replicas)

    def _shrinks(self, before: State, after: State) -> None:
        """Scaling in begins with the first instance that leaves, and is over when nobody is to go or going."""
        if self.comes_from is None and len(after.builds) < len(before.builds):
            self.comes_from = len(before.builds)
        there = self.pods.keys() - after.builds.keys() - self.surging
        if self.comes_from is not None and self.surplus <= 0 and not there:
            self.comes_from = None

    def _chosen_first(self, before: State, after: State) -> None:
        """The instances that scaling in is to begin with go before others."""
        run = running(before)
        batch = run.batch if run is not None else None
        new, pairs = (batch.surge, batch.surge | batch.replaces) if batch is not None else (NOBODY, NOBODY)
        spared = {i.id for i in self.spec.protected_instances if i.keeps_from_scale_in}
        counted = before.builds.keys() - new
        first = counted.intersection(self.spec.scale_in_policy.preferred_instances or ()) - spared
        others = counted - after.builds.keys() - first - pairs
        surplus = len(counted) - (self.spec.replicas if after.replicas is None else after.replicas)
        assert len(others) <= max(0, surplus - len(first)), f"2: {sorted(others)} go before {sorted(first)}"

    def _within_a_batch(self) -> None:
        left, most = self.left, self.batch_of_scaling_in(self.size)
        assert len(left) <= most, f"2: scaling in has {left} terminating, at most {most} may be"
        self.came_up[TERMINATING] += len(left) == most and self.surplus > 0

    # --- what is shown

    def shows_what_runs(self) -> None:
        """Of a world that has come to rest: VERSION is that of the majority, and the current one where there is one."""
        state, pods = self.state, self.pods
        if running(state) is not None or state.applying:
            return
        ran = {n: pods[n].version if n in pods else build.version for n, build in state.builds.items()}
        counts = Counter(parts(version) for version in ran.values())
        shown = str(self.status.get("versions") or "")
        if len(counts) == 1:
            self.came_up[ONE_VERSION] += 1
            assert parts(shown) in counts, f"2: VERSION is {shown}, and all run {set(ran.values())}"
        elif counts:
            self.came_up[MIXED] += 1
            told = [text.removesuffix(")").split(" (") for text in shown.split(", ") if "(" in text]
            ranked = sorted(counts.values(), reverse=True)[:4]
            right = [int(count) for _, count in told] == ranked
            right = right and all(counts[parts(version)] == int(count) for version, count in told)
            assert right, f"2: VERSION is {shown}, and there are {counts}"
        self._current(state)

    def _current(self, state: State) -> None:
        """While nothing runs, the one version of all unprotected instances is the current one, however they came by
        it; not one whose run failed, was cancelled or did not complete.
        """
        mine = {n: build for n, build in state.builds.items() if n not in self.protected}
        keys = {key_of_build(build) for build in mine.values()}
        if len(keys) != 1 or any(n not in self.pods or not b.same_as(self.pods[n]) for n, b in mine.items()):
            return
        (key,) = keys
        last = state.rollout
        unproven = (
            last is not None
            and last.kind is Kind.IMAGE
            and key_of(last.target) == key
            and last.code is not Code.COMPLETED
        )
        if key not in self.condemned and not unproven:
            shown = parts(state.current_version or "0")
            assert shown == key[1], f"2: the current version is {state.current_version}, and all run {key[1]}"
