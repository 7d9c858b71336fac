"""A simulated set that writes down its course: what happened, what the operator decided, how its instances were then.

Only what differs from the look before is told. A look that decides nothing leaves no moment behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaleset.planner.instances import Pod
from scaleset.planner.plan import Plan
from scaleset.planner.state import Batch, Rollout, State
from tests.simulation.verdicts import running
from tests.simulation.watched import Watched

QUIET = {"BatchStarted", "BatchCompleted", "NewVersionAvailable", "RolloutStarted", "RolloutCompleted"}
"""Events that say no more than the line above them."""
USUAL = {"BatchInProgress", "Restoring"}
"""What a batch waits for when nothing is in its way."""
AT_REST = {"Idle", "Completed", "Cancelled", "Faulted"}
"""What `Progressing` says when nothing is waited for before a rollout starts."""


def ids(numbers: Any) -> str:
    """As ranges: `0-3,7`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a log and the sentences below it."""

    at: float
    fleet: Mapping[int, str]
    """A letter for each instance: its build while it is healthy."""
    parts: tuple[str, ...]
    below: tuple[str, ...] = ()
    note: bool = False
    """Whether it happened to the set; all else was decided by the operator."""


class BrokenOffError(Exception):
    """A course that could not be played to its end; its log shows how far it came, and why no further."""

    def __init__(self, course: Course) -> None:
        super().__init__(course.moments[-1].parts[-1])
        self.course = course


@dataclass
class Course(Watched):
    """The invariants are asked at every write, as in every other watched world."""

    moments: list[Moment] = field(default_factory=list)
    letters: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """By model, version and image, in the order in which the set got to know them."""
    told: dict[str, str] = field(default_factory=dict)
    """What each condition of interest said last."""
    said: set[str] = field(default_factory=set)
    """Sentences that stand in the log already."""
    well: frozenset[int] = frozenset()
    bad: frozenset[int] = frozenset()
    """Who was unhealthy when the status was written last: before the deletions that follow it."""
    began: float = 0.0
    fails: Callable[[int, Pod], bool] = lambda *_: False
    """Pods that are never ready, beside those whose image says so."""

    def begins(self) -> None:
        """What was until now is not part of the story."""
        self.moments.clear()
        self.began = self.now

    def note(self, text: str) -> None:
        """Tell what has just been done to the set."""
        self.moments.append(Moment(self.now - self.began, self.fleet(), (text,), note=True))

    def step(self, *, writes: int | None = None) -> Plan:
        before, pods = self.state, dict(self.pods)
        made = len(self.writes)
        try:
            plan = super().step(writes=writes)
        except Exception as error:  # whatever it is, the log up to there is shown with it
            text = f"breaks off: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            self.moments.append(Moment(self.now - self.began, self.fleet(), (text,)))
            raise BrokenOffError(self) from error
        after = self.state
        well = frozenset(number for number in self.pods if self.up(number))
        parts = [*self._judged(before, after), *self._health(before, after, well), *self._began(before, after)]
        parts += [*self._ends(before, after), *self._admits(before, after), *self._acted(pods, made)]
        if writes is not None:
            parts.append("dies")
        below = [f"{event.reason}: {event.message}" for event in plan.events if event.reason not in QUIET]
        self.said.update(event.message for event in plan.events)
        for word, sentence in (*self._waits(before, after), *self._conditions(after, plan)):
            parts.append(word)
            if sentence not in self.said:
                self.said.add(sentence)
                below.append(sentence)
        self.well = well
        if parts or below:
            self.moments.append(Moment(self.now - self.began, self.fleet(), tuple(parts), tuple(below)))
        return plan

    def _write(self, status: Mapping[str, Any]) -> None:
        super()._write(status)
        self.bad = frozenset(number for number in self.state.builds if self.down(number))

    def works(self, number: int, pod: Pod) -> bool:
        return super().works(number, pod) and not self.fails(number, pod)

    # --- how the instances are

    def fleet(self) -> dict[int, str]:
        """A capital letter: healthy. Small: starts. `!`: unhealthy. `~`: ends. `_`: has no pod."""
        numbers = self.state.builds.keys() | self.pods.keys()
        return {number: self._sign(number, self.pods.get(number)) for number in sorted(numbers)}

    def _sign(self, number: int, pod: Pod | None) -> str:
        if pod is None:
            return "_"
        build = (pod.model, pod.version, pod.asked_image or "")
        letter = self.letters.setdefault(build, chr(ord("A") + len(self.letters)))
        if pod.deleting:
            return "~"
        if self.up(number):
            return letter
        return letter.lower() if self.starting(number) else "!"

    # --- what a look decided

    def _judged(self, before: State, after: State) -> Iterator[str]:
        """What became of the instances of the batch, and the gate after it."""
        was, now = running(before), after.rollout
        if was is None or now is None or was.id != now.id:
            return
        if found := now.successful - was.successful:
            yield f"{ids(found)} upgraded"
        if found := now.failed - was.failed:
            yield f"{ids(found)} failed{_why(now, found)}"
        if (found := now.restoring - was.restoring) and _begun(was, now) is None:
            yield f"{ids(found)} to go back"
        if found := now.restored - was.restored:
            yield f"{ids(found)} restored"
        if found := now.restore_failed - was.restore_failed:
            yield f"{ids(found)} not restored"
        if now.batches_done > was.batches_done:
            bad = now.failed | (now.upgraded & self.bad)
            yield f"batch {now.batches_done} done, bad {len(bad)}/{len(now.upgraded)}"

    def _health(self, before: State, after: State, well: frozenset[int]) -> Iterator[str]:
        """Who became healthy or unhealthy without being judged for it."""
        was, now = before.rollout, after.rollout
        judged = (now.upgraded if now else frozenset()) - (was.upgraded if was and now and was.id == now.id else set())
        judged |= (now.restored - was.restored) if was and now else frozenset()
        if found := well - self.well - judged:
            yield f"{ids(found)} healthy"
        gone = {n for n in self.well - well - judged if n in self.pods and not self.pods[n].deleting and self.down(n)}
        if gone:
            yield f"{ids(gone)} unhealthy"

    def _began(self, before: State, after: State) -> Iterator[str]:
        was, now = before.rollout, after.rollout
        if now is not None and (was is None or was.id != now.id):
            what = "restart" if now.restart is not None else f"rollout to {now.target.version or now.target.model}"
            yield f"{what} started by {now.started_by.lower()}"

    def _ends(self, before: State, after: State) -> Iterator[str]:
        was, now = running(before), after.rollout
        if now is not None and not now.running and (was is not None or now != before.rollout):
            code = now.error.code if now.error is not None else ""
            yield f"{now.code}" + (f": {code}" if code and code != now.code else "")
        for failed in (each for each in after.failed_targets if each not in before.failed_targets):
            yield f"{failed.version or failed.model} is not tried again"
        if after.retry is not None and after.retry != before.retry:
            yield f"back-off {after.retry.delay:g} s"
        if after.current_version != before.current_version:
            yield f"current version {after.current_version}"

    def _admits(self, before: State, after: State) -> Iterator[str]:
        was, now = running(before), running(after)
        batch = _begun(was, now) if now is not None else None
        if now is not None and batch is not None and batch.instances <= now.failed:
            yield f"batch {batch.number}/{batch.of} takes back {ids(batch.instances)}"
        elif now is not None and batch is not None:
            others = after.builds.keys() - batch.surge
            bad, size = len(self.bad & others), self.spec.replicas
            closed = bad * 100 > now.policy.rolling.max_unhealthy_instance_percent * size
            yield f"gate {bad}/{size}" + (" closed" if closed else "")
            instead = f" in place of {ids(batch.replaces)}" if batch.surge else ""
            yield f"batch {batch.number}/{batch.of} admitted {ids(batch.instances)}{instead}"
        if found := after.applying - before.applying:
            yield f"replaces at once {ids(found)}"

    def _acted(self, before: Mapping[int, Pod], made: int) -> Iterator[str]:
        """What became of the pods by the writes of this look."""
        now = self.pods
        tried = {tuple(write.split()) for write in self.writes[made:]}
        done = {
            "deletes": {n for n, pod in now.items() if pod.deleting and n in before and not before[n].deleting},
            "changes in place": {n for n, pod in now.items() if n in before and before[n].change != pod.change},
            "creates": now.keys() - before.keys(),
        }
        for name, numbers in done.items():
            if numbers:
                yield f"{name} {ids(numbers)}"
        for name, numbers in done.items():
            verb = name.split()[0]
            if refused := {int(w[1]) for w in tried if w[0] == verb[:-1]} - numbers:
                yield f"{verb} {ids(refused)}: refused"

    def _waits(self, before: State, after: State) -> Iterator[tuple[str, str]]:
        """What the rollout begins to wait for, in a word and a sentence."""
        was, now = running(before), running(after)
        waiting = now.waiting if now is not None else None
        if waiting is None or waiting.reason in USUAL:
            return
        if was is None or was.waiting is None or was.waiting.reason != waiting.reason:
            yield f"waits: {waiting.reason}", waiting.message

    def _conditions(self, after: State, plan: Plan) -> Iterator[tuple[str, str]]:
        """The conditions that begin to say that something is wrong, or why no rollout starts."""
        conditions = {c["type"]: c for c in plan.status.get("conditions", ())}
        for kind, status in (("Accepted", "False"), ("Stalled", "True"), ("Progressing", "False")):
            found = conditions.get(kind, {})
            reason = found.get("reason", "") if found.get("status") == status else ""
            if kind == "Progressing" and (running(after) is not None or reason in AT_REST):
                reason = ""
            if reason and reason != self.told.get(kind):
                yield f"{kind}={status} {reason}", found["message"]
            self.told[kind] = reason


def _begun(was: Rollout | None, now: Rollout) -> Batch | None:
    """The batch that this look began."""
    if now.batch is None or (was is not None and was.batch is not None and was.batch.number == now.batch.number):
        return None
    return now.batch


def _why(rollout: Rollout, numbers: frozenset[int]) -> str:
    said = sorted({rollout.messages[n] for n in numbers if n in rollout.messages})
    return f" ({'; '.join(said)})" if said else ""
