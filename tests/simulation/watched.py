"""A world that asks the invariants at every single write, of the pods as they stand then."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scaleset.planner import health
from scaleset.planner.instances import Build, Pod
from scaleset.planner.plan import Deletion, ImageChange
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.state import NOBODY, Code, Kind, Rollout, StartedBy, State
from scaleset.planner.targets import FailedTarget
from tests.simulation import clocks
from tests.simulation.leaving import Leaving
from tests.simulation.verdicts import figures, in_progress, left_behind, parts, running

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


@dataclass
class Watched(Leaving):
    """Arithmetic and health are worked out here again; nothing of the planner's is used but its data."""

    judged: dict[FailedTarget, tuple[float, ...]] = field(default_factory=dict)
    """The limits and timeouts that each failed target was judged by: editing those lifts what is remembered."""

    # --- the writes

    def _write(self, status: Mapping[str, Any]) -> None:
        before = self.state
        super()._write(status)
        after = self.state
        for target in set(after.failed_targets) - set(before.failed_targets):
            self.judged[target] = figures(self.policy, self.source)
        self._admitted(before, after)
        self._settled(before, after)
        self._clocks(before, after)
        self._made_again(before, after)
        self._taken_back(before, after)
        self._remembered(before, after)
        self._started(before, after)
        self._moved(before, after)
        self._ended(before, after)
        self._goes(before, after)

    def delete(self, deletion: Deletion) -> None:
        """S1, S7: only what the written state hands over, by the uid of a pod of ours."""
        state, pod = self.state, self.pods.get(deletion.instance)
        assert deletion.uid.startswith("pod-"), "S7"
        if pod is not None and pod.uid == deletion.uid and not pod.deleting and deletion.instance in state.builds:
            busy = state.applying | in_progress(state)
            build = state.builds[deletion.instance]
            if pod.ended and (deletion.instance not in busy or build.same_as(pod)):
                told = state.ended.get(deletion.instance)
                assert told is not None, "4.4: an ended pod is made again, and that is not written down"
                assert self.now - 1 < told.time <= self.now, (
                    "4.4: an ended pod is made again, and that is not written down"
                )
            elif not bits_are_gone(build, pod):
                assert deletion.instance in busy, "S1: deleted outside batch and request"
                assert not build.same_as(pod), "S9: deleted for nothing"
                run = running(state)
                upgrades = run is not None and run.policy.only_in_place and deletion.instance in run.verifying
                assert not upgrades, "in place only: a pod is made again for an upgrade"
            self._spares(before=state, number=deletion.instance, pod=pod)
        super().delete(deletion)
        self._scaled_in()

    def change_image(self, wanted: ImageChange) -> None:
        """S1, S7: what the written state hands over, a pod of ours as it was seen, to the build written down for it."""
        state, pod = self.state, self.pods.get(wanted.instance)
        assert wanted.uid.startswith("pod-"), "S7"
        assert wanted.resource_version, "S7: changed in place whatever became of it"
        gone = pod is not None and bits_are_gone(wanted.build, pod)
        assert gone or wanted.instance in state.applying | in_progress(state), "S1: changed outside batch and request"
        assert wanted.build == state.builds[wanted.instance], "S4: changed to another build than the one written down"
        assert gone or pod is None or not wanted.build.same_as(pod), "S9: changed for nothing"
        if pod is not None:
            self._spares(before=state, number=wanted.instance, pod=pod)
        super().change_image(wanted)

    def _spares(self, *, before: State, number: int, pod: Pod) -> None:
        """1.3: who is protected keeps the pod that it had."""
        previous = before.previous.get(number)
        assert pod.ended or previous is None or not previous.same_as(pod) or number not in self.protected, (
            f"1.3: {number} is protected and loses its pod"
        )

    # --- what a status may say after another

    def _admitted(self, before: State, after: State) -> None:
        """S1, S2, S3, S8: a batch is small enough, the gate is open, nothing forbids it."""
        rollout, was = running(after), running(before)
        if rollout is None or (batch := rollout.batch) is None:
            return
        earlier = in_progress(before)
        # A new instance that there is no room for gives its place in the batch to the old one beside it.
        beside = was.batch.replaces if was is not None and was.batch is not None else NOBODY
        if not (admitted := rollout.verifying - earlier - beside):
            return
        policy = rollout.policy.rolling
        replicas = self.spec.replicas
        assert not earlier & rollout.in_progress, "S1: two batches at once"
        assert len(admitted) <= max(1, replicas * policy.max_batch_instance_percent // 100), (
            "S1: the batch is too large"
        )
        assert not self.spec.suspend, "a batch while suspended"
        assert self.policy is None or not self.policy.suspend, "a batch while the policy suspends its sets"
        assert rollout.ending is None, "S3: a batch after a decision to end"
        assert rollout.error is None, "S3: a batch after a breach"
        reached = batch.replaces or admitted
        assert not reached & self.protected, "1.3: a protected instance is in a batch"
        others = after.builds.keys() - batch.surge
        down = {n for n in others if self.down(n, before)}
        only_broken = reached <= down and (
            policy.prioritize_unhealthy_instances
            or rollout.kind is not Kind.IMAGE
            or rollout.with_model
            or all(left_behind(before, before.builds[n]) for n in reached)
        )
        assert only_broken or len(down) * 100 <= policy.max_unhealthy_instance_percent * replicas, (
            "S2: the gate is closed"
        )
        assert not {n for n in others if self.starting(n, before)}, "S2: an instance still starts"
        upgraded = rollout.successful | rollout.failed
        spoilt = {n for n in upgraded if n in rollout.failed or n in down}
        target = rollout.target
        proven = before.proven is not None and rollout.kind is Kind.IMAGE and target.version is not None
        if proven and (before.current_version, before.current_image) == (target.version, target.image):
            # A later run to a version that runs here: one bad node does not condemn it.
            runs = (target.version, target.image)
            upgraded = upgraded | {n for n, build in before.builds.items() if (build.version, build.image) == runs}
        assert len(spoilt) * 100 <= policy.max_unhealthy_upgraded_instance_percent * len(upgraded), "S3: after a breach"
        if rollout.target.reference == "latest" and rollout.target.version is not None:
            found = [v for v in self.catalogue if v.version == rollout.target.version and not v.excluded]
            assert found, "S8: a batch to a withdrawn version"
        assert admitted <= after.previous.keys() or (batch.surge and not rollout.restores), "the way back is not known"

    def _settled(self, before: State, after: State) -> None:
        """S10, S14: who leaves the batch is healthy on what it was to run, or late."""
        was, now = running(before), after.rollout
        if was is None or now is None or was.batch is None or now.id != was.id:
            return
        for number in (was.verifying - (now.verifying if now.running else NOBODY)) & after.builds.keys():
            if number not in before.builds:
                continue
            pod, build = self.pods.get(number), before.builds[number]
            works = pod is not None and self.up(number) and build.same_as(pod)
            if self.source == health.INSTANCE_STATE and pod is not None and pod.restarted:
                works = False  # Whether it counts for the state after this write or not.
            if number in now.successful:
                assert works, f"S14: {number} counts as upgraded and is not"
            elif number in now.failed:
                assert not works, f"S10: {number} is healthy and failed"
                clock = before.clocks.get(number)
                refused = pod is not None and pod.uid in self.seen.delete_errors
                since = clocks.counts_from(build, pod, clock, started=was.batch.started, refused=refused)
                assert since is not None, f"S10: {number} failed, and its time had not begun"
                assert self.now >= since + was.policy.health_timeout, f"S10: {number} failed too early"
                ran = pod is not None and build.same_as(pod) and pod.reached
                assert (number in now.never_ran) != ran, f"4.7: {number} failed, and its image is misjudged"
            else:
                assert self._put_back(before, after, number), f"S14: {number} is in no count"

    def _put_back(self, before: State, after: State, number: int) -> bool:
        """Whether an instance may leave its batch without a verdict, with the pod that it has: protected before that
        was touched, or waiting for what others keep from it, in a run that is to end.
        """
        was, now, pod, previous = before.rollout, after.rollout, self.pods.get(number), before.previous.get(number)
        at_once = number in after.applying  # A replacement at once follows in the same write.
        back = after.previous.get(number) if at_once else after.builds[number]
        if previous is None or not alike(back, previous) or was is None or now is None:
            return False
        old = pod is not None and previous.same_as(pod)
        if old and pod is not None and not pod.deleting and number in self.protected:
            return True
        target = now.target
        ends = (
            was.ending is not None
            or now.ending is not None
            or now.code is Code.CANCELLED
            or before.handled_cancel != after.handled_cancel
            or target.model != self.model.name
            or (target.reference == "latest" and not self.published(target.version))
        )
        if not ends:
            return False
        if pod is None:
            return number in self.seen.refusals
        if pod.deleting:
            return old and pod.deletion_due is not None and self.now >= pod.deletion_due
        return old and pod.uid in self.seen.delete_errors

    def _clocks(self, before: State, after: State) -> None:
        """S10: the clock of an instance goes on as it should while it stays in hand with the same build."""
        for number in in_progress(before) & in_progress(after) & before.builds.keys() & after.builds.keys():
            build = before.builds[number]
            if alike(build, after.builds[number]):
                was, now = before.clocks.get(number), after.clocks.get(number)
                right = clocks.goes_on(was, now, build, pod=self.pods.get(number), now=self.now)
                assert right, f"S10: the clock of {number} goes from {was} to {now}"

    def _made_again(self, before: State, after: State) -> None:
        """4.4: pods that end are made again after a growing while, 10 s after the first, at most 5 minutes; ten minutes
        after the last one it begins anew.
        """
        for number in before.ended.keys() & after.builds.keys() & before.builds.keys():
            was, now = before.ended[number], after.ended.get(number)
            if was == now or not alike(before.builds[number], after.builds[number]):
                continue
            wait = min(300.0, 10.0 * 2 ** min(was.count - 1, 10))
            if now is None:
                assert self.up(number), f"4.4: {number} is not healthy, and its row of ended pods is forgotten"
                assert self.now >= was.time + 600, f"4.4: the row of ended pods of {number} is forgotten too early"
            elif now.count == 1:
                assert self.now >= was.time + wait + 600, (
                    f"4.4: the row of ended pods of {number} begins anew too early"
                )
            else:
                assert now.count == was.count + 1, f"4.4: an ended pod of {number} is not counted"
                assert self.now >= was.time + wait, f"4.4: the ended pod of {number} is made again too early"

    def _taken_back(self, before: State, after: State) -> None:
        """4.4, 4.5: what is restored after its batch, and how long there is a way back."""
        was, now = running(before), running(after)
        if now is None:
            return
        if now.restores:
            ways = now.successful & after.builds.keys() <= after.previous.keys()
            assert ways, "the way back of an upgraded instance is forgotten before the run has ended"
        if not (back := now.restoring - in_progress(before)):
            return
        assert now.error is not None, "S10: taken back without a breach"
        limit = max(1, after.replicas * now.policy.rolling.max_batch_instance_percent // 100) if after.replicas else 1
        assert len(back) <= limit, "S1: more is taken back at a time than a batch"
        assert not back & self.protected, "1.3: a protected instance is taken back"
        if not now.restores:
            assert now.rolls_back_on_breach, "S10: taken back in a run that restores nothing"
            return
        assert all(self.down(n, before) for n in back), "S10: a healthy instance is taken back"
        assert not self._outage(before, now), "4.5: taken back in an outage of what the run has not touched"
        again = was is not None and was.error is not None and was.batch is not None
        assert not again or (was and was.batch and was.batch.instances & now.restored), (
            "4.5: taken back though it made nobody healthy"
        )

    def _outage(self, state: State, rollout: Rollout) -> bool:
        """As things were when the decision was taken: the same write may give others another build. What is still to
        be created was never healthy: it tells of no outage.
        """
        target = rollout.target
        others = [
            n
            for n, build in state.builds.items()
            if n not in rollout.upgraded | rollout.in_progress
            # Who runs what the run brings, by whatever way it came there, tells of no outage.
            and (
                (build.version, build.image) != (target.version, target.image)
                if target.version is not None
                else build.model != target.model
            )
        ]
        down = sum(self.down(n) for n in others)
        return down * 100 > rollout.policy.rolling.max_unhealthy_instance_percent * len(others)

    def _remembered(self, before: State, after: State) -> None:
        """4.7: what a breach says of the target. Neither an outage nor a pod that never ran is the image's fault."""
        was, now = running(before), after.rollout
        if was is None or now is None or was.error is not None or now.error is None or now.error.code != UPGRADED:
            return
        bad = now.failed | {n for n in now.successful & after.builds.keys() if self.down(n, before)}
        target = now.target
        kept = {(f.model, f.version, f.image) for f in after.failed_targets if f.time > self.now - 1}
        remembered = (target.model, target.version, target.image) in kept
        assert remembered != (self._outage(before, now) or bad <= now.never_ran or now.kind is Kind.RESTART), (
            "4.7: the target is remembered, or tried again, wrongly"
        )

    def _started(self, before: State, after: State) -> None:
        """S8: what failed is not tried again by the platform."""
        was, now = before.rollout, after.rollout
        if now is None or now.started_by is StartedBy.USER or (was is not None and was.id == now.id):
            return
        rule = figures(self.policy, self.source)
        if before.handled_retry != after.handled_retry:
            return  # The user has it forgotten.
        failed = {(f.model, f.version, f.image) for f in before.failed_targets if self.judged.get(f, rule) == rule}
        target = now.target
        assert (target.model, target.version, target.image) not in failed, "S8: a failed target is tried again"

    def _moved(self, before: State, after: State) -> None:
        """S4, S8: a build changes within batch or request, to the target or back; down only where a user pinned."""
        busy = after.applying | in_progress(after)
        rollout = after.rollout
        for number in before.builds.keys() & after.builds.keys():
            old, new = before.builds[number], after.builds[number]
            if alike(old, new):
                continue
            if number not in busy:
                assert self._keeps(before, after, number), f"S1: {number} moves outside batch and request"
            elif number in in_progress(after) and alike(new, before.previous.get(number)):
                assert rollout is not None, "S10"
                assert number in rollout.failed, f"S10: {number} goes back and did not fail"
            elif parts(new.version) < parts(old.version):
                assert self.pinned(new) or self._put_back(before, after, number), f"S8: {number} goes down"

    def _keeps(self, before: State, after: State, number: int) -> bool:
        """Whether an instance that is in no hand any more gets the build before, since it has the pod of that still, or
        (`_put_back` says when) none.
        """
        new, pod = after.builds[number], self.pods.get(number)
        if not alike(new, before.previous.get(number)):
            return False
        old = pod is not None and new.same_as(pod)
        if number in before.applying:
            return old and pod is not None and not pod.deleting and number in self.protected
        if number not in in_progress(before) or after.rollout is None:
            return False
        # What ends there is of neither build: that of a run before, which did not end in its time either.
        neither = pod is not None and pod.deleting and not before.builds[number].same_as(pod)
        return old or neither if number in after.rollout.failed else True

    def pinned(self, build: Build) -> bool:
        """Whether a user asked for exactly that version."""
        return build.model in self.models and self.models[build.model].reference.version == build.version

    def _ended(self, before: State, after: State) -> None:
        """S14: Completed means all on the target; everything else has a reason."""
        was, now = running(before), after.rollout
        if now is None or now.running or (was is None and before.rollout is not None and before.rollout.id == now.id):
            return
        assert not now.in_progress, "it ended in the middle of a batch"
        if now.code is not Code.COMPLETED:
            assert now.error is not None, "S14: it ended without a reason"
            if was is None or was.error is None:
                self._breach(now)
            return
        protected = self.protected
        for number, build in after.builds.items():
            if number in now.failed or number in protected or now.target.version is None or now.kind is Kind.MODEL:
                continue
            behind = parts(build.version) < parts(now.target.version)
            assert not behind or self.other_definition(build, now), f"S14: Completed without {number}"

    def other_definition(self, build: Build, rollout: Rollout) -> bool:
        target = rollout.target
        model = self.models.get(build.model)
        return model is not None and model.reference.definition[1:] != (target.publisher, target.offer, target.sku)

    def _breach(self, rollout: Rollout) -> None:
        """4.2, 4.5: exactly at the limit nothing ends."""
        policy, code = rollout.policy.rolling, rollout.error.code if rollout.error is not None else ""
        if code.startswith("MaxUnhealthyUpgraded"):
            upgraded = rollout.successful | rollout.failed
            bad = [n for n in upgraded if n in rollout.failed or self.down(n)]
            assert len(bad) * 100 > policy.max_unhealthy_upgraded_instance_percent * len(upgraded), (
                "4.5: within its limit"
            )

    @property
    def seen(self) -> Snapshot:
        """What the decision that is carried out was taken on."""
        assert self.observed is not None
        return self.observed

    @property
    def protected(self) -> frozenset[int]:
        return frozenset(i.id for i in self.spec.protected_instances if i.protect_from_scale_set_actions)

    def published(self, number: str | None) -> bool:
        return any(v.version == number and not v.excluded for v in self.catalogue)

    # --- health, again

    @property
    def source(self) -> str:
        return health.source(self.model)

    def up(self, number: int) -> bool:
        pod = self.pods.get(number)
        if pod is None or not pod.current or pod.deleting or not pod.reporting or pod.ended:
            return False
        if self.source != health.INSTANCE_STATE:
            return pod.ready
        state = self.state
        run, build = running(state), state.builds.get(number)
        upgraded = run.successful | run.verifying if run is not None else NOBODY
        since = number in upgraded and build is not None and build.same_as(pod)
        return pod.running and not (since and pod.restarted)

    def down(self, number: int, state: State | None = None) -> bool:
        """Missing, going, broken, or not ready although it had its time."""
        return not self.up(number) and not self.starting(number, state)

    def starting(self, number: int, state: State | None = None) -> bool:
        """`state` is the one that a decision goes by; an instance of a new batch begins a new row of pods that end."""
        pod = self.pods.get(number)
        if pod is None or pod.deleting or pod.ended or self.up(number) or not pod.reporting:
            return False
        if (ended := (state or self.state).ended.get(number)) is not None and ended.count > 1:
            return False
        run = (state or self.state).rollout
        told = run is not None and number in run.successful  # It was seen healthy since it was changed in place.
        at_first = pod.change is not None and not told
        new = pod.ready_since is None or (at_first and pod.ready_since <= (pod.started or 0.0) + 2)
        return (new or not pod.current) and self.now < pod.begun + 300


def alike(build: Build | None, other: Build | None) -> bool:
    """Whether two builds are one, whatever bits are known of it."""
    if build is None or other is None:
        return build is other
    return replace(build, digest=None) == replace(other, digest=None)


def bits_are_gone(build: Build, pod: Pod) -> bool:
    """Whether the pod asks for bits that nobody can pull, and the tag is written down in their place."""
    return build.digest is None and build.same_as(pod) and any("@" in image for image in pod.image_errors)
