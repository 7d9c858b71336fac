"""Visits every state that can be reached within a budget of disturbances, breadth first, and checks each decision.

A path is kept for every state, so that a violation can be told as a story. Liveness (L1) is asked of every state:
from there on the surroundings behave and the operator runs undisturbed; the run has to come to an end that the
contract knows, and must not go round in circles.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.exploration import checks, end_checks, feature_checks, moves, states
from tests.exploration.moves import Decision
from tests.exploration.seeing import ViolatedError, require
from tests.exploration.states import BROKEN, STALE, STARTING, TERMINATING, Place

EVERYTHING = frozenset({"crash", "stale", "slow", "flap", "lose", "evict", "quota", "keep", "user"})
_LONGEST = 400


class FoundError(AssertionError):
    """A violation, with the way there."""


@dataclass
class Explorer:
    """One exploration."""

    policy: UpgradePolicySpec
    kinds: frozenset[str] = EVERYTHING
    most: int = 1_000_000
    states: int = 0
    transitions: int = 0
    came_from: dict[Place, tuple[Place, str] | None] = field(default_factory=dict)
    decisions: dict[Place, Decision] = field(default_factory=dict)
    live: set[Place] = field(default_factory=set)

    def explore(self, roots: Iterable[Place]) -> None:
        """Visit everything that can be reached from the roots."""
        queue: deque[Place] = deque()
        for root in roots:
            self.came_from[root] = None
            queue.append(root)
        while queue:
            place = queue.popleft()
            self.states += 1
            if self.states > self.most:
                raise AssertionError(f"more than {self.most} states: lower the budget")
            try:
                for what, following in self._moves(place):
                    self.transitions += 1
                    if following not in self.came_from:
                        self.came_from[following] = (place, what)
                        end_checks.check_state(following)
                        queue.append(following)
                self._ends(place)
            except ViolatedError as violation:
                raise FoundError(f"{violation}\n{self._story(place)}") from violation

    def _moves(self, place: Place) -> Iterator[tuple[str, Place]]:
        decision = self._decide(place)
        after = moves.carry_out(place, decision)
        if after != place:
            yield "reconcile", after
        quiet = after == place
        for what, following in moves.natural(place):
            quiet = False
            yield what, following
        if quiet and (following := moves.later(place)) != place:
            yield "time passes", following
        yield from moves.disturbances(place, decision, self.kinds)

    def _decide(self, place: Place) -> Decision:
        key = place._replace(left=0, tainted=False)
        decision = self.decisions.get(key)
        if decision is None:
            decision = moves.decide_in(key, self.policy)
            checks.check(key, decision)
            feature_checks.check(key, decision)
            self.decisions[key] = decision
        return decision

    # --- liveness

    def _ends(self, place: Place) -> None:
        """L1 from this state on, when nothing disturbs any more."""
        path: dict[Place, str] = {}
        place = place._replace(left=0)
        what = "nothing disturbs any more"
        while place not in self.live:
            if place in path or len(path) > _LONGEST:
                raise ViolatedError("L1: it goes round in circles:\n  " + "\n  ".join(path.values()))
            path[place] = what
            try:
                step = self._undisturbed(place)
                if step is None:
                    end_checks.check_end(place, self._decide(place))
                    break
            except ViolatedError as violation:
                then = "\n  ".join(f"{what}: {_short(at)}" for at, what in path.items())
                raise ViolatedError(f"{violation}, at the end of this:\n  {then}\nafter this:") from violation
            what, place = step
        self.live.update(path)

    def _undisturbed(self, place: Place) -> tuple[str, Place] | None:
        if place.view is not None:
            return "the cache catches up", states.tidy(place._replace(view=None))
        if place.quota or place.kept:
            return "pods may be created and deleted again", place._replace(quota=False, kept=False)
        decision = self._decide(place)
        after = moves.carry_out(place, decision)
        if after != place:
            unwritten = after._replace(status=place.status, start=place.start, cancel=place.cancel, asked=place.asked)
            if unwritten == place:
                self._woken(after, at=states.NOW, by=decision, what="its own status")
            return "reconcile", after
        if place.fixed:
            return "images may be changed again", place._replace(fixed=False)
        if (healed := _healed(place)) is not None:
            return healed
        following = moves.later(place)
        if following == place:
            return None
        self._woken(following, at=None, by=decision, what="time")
        return "time passes", following

    def _woken(self, place: Place, *, at: float | None, by: Decision, what: str) -> None:
        """L1: nobody looks again who did not ask for it. Where nothing but that is new, and there is something to be
        done about it, the look before has asked to be woken.
        """
        wake_at = by.plan.wake_at
        if wake_at is None or (at is not None and wake_at > at):
            found = self._decide(place)
            steps = ", ".join(f"{step.verb} {step.number}" for step in found.steps)
            require(moves.carry_out(place, found) == place, f"L1: nobody looks again at {what}: {steps}")

    def _story(self, place: Place) -> str:
        steps: list[str] = []
        at: Place | None = place
        while at is not None:
            origin = self.came_from.get(at)
            steps.append(f"  {origin[1] if origin is not None else 'from'}: {_short(at)}")
            at = origin[0] if origin is not None else None
        return "\n".join(reversed(steps))


def _healed(place: Place) -> tuple[str, Place] | None:
    """The pods of the first phase that something can be done about go on."""
    for phase in (BROKEN, TERMINATING, STALE, STARTING):
        if any(pod.phase == phase for _, pod in place.pods):
            healed = place
            for number, pod in place.pods:
                if pod.phase == phase:
                    healed = _end_of(healed, number, phase)
            if healed != place:
                return f"{phase} pods go on", healed
    return None


def _end_of(place: Place, number: int, phase: str) -> Place:
    """What becomes of a pod in that phase when nothing disturbs it."""
    pod = dict(place.pods)[number]
    if phase == TERMINATING:
        return states.tidy(place._replace(pods=tuple(entry for entry in place.pods if entry[0] != number)))
    if phase == STALE:
        return states.tidy(place._replace(pods=states.change(place.pods, number, phase=STARTING, runs="")))
    if phase == STARTING and states.offers_of(place)[pod.version].bad:
        return place
    return states.tidy(place._replace(pods=states.change(place.pods, number, phase=states.READY, settled=False)))


def _short(place: Place) -> str:
    pods = " ".join(f"{n}:{p.version}/{p.model}{p.phase[0]}{'+' if p.old else ''}" for n, p in place.pods)
    view = (
        ""
        if place.view is None
        else " view " + " ".join(f"{n}:{p.version}/{p.model}{p.phase[0]}" for n, p in place.view)
    )
    state = states.read(place.status)
    rollout = state.rollout
    run = "-"
    if rollout is not None:
        run = (
            f"{rollout.kind} {rollout.target.version} {rollout.code} in {sorted(rollout.in_progress)} "
            f"pending {sorted(rollout.pending)} ok {sorted(rollout.successful)} failed {sorted(rollout.failed)}"
        )
    builds = " ".join(f"{n}:{b.version}" for n, b in state.builds.items())
    return f"[{pods}]{view} builds [{builds}] applying {sorted(state.applying)} rollout {run}"
