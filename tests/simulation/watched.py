"""A world that asks the invariants of testing.md at every single write, of the pods as they stand then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaleset.planning.instances import Build
from scaleset.planning.snapshot import Deletion, ImageChange
from scaleset.planning.state import NOBODY, Code, Kind, Rollout, StartedBy, State
from tests.simulation.world import World


def parts(version: str) -> tuple[int, ...]:
    """A version as it compares."""
    return tuple(map(int, version.split(".")))


def running(state: State) -> Rollout | None:
    """The running rollout."""
    return state.rollout if state.rollout is not None and state.rollout.running else None


def in_progress(state: State) -> frozenset[int]:
    rollout = running(state)
    return rollout.in_progress if rollout is not None else NOBODY


@dataclass
class Watched(World):
    """Arithmetic and health are worked out here again; nothing of the planner's is used but its data."""

    edited: float = 0.0
    """When the policy was last edited: that lifts the memory of failed versions."""

    # --- the writes

    def _write(self, status: Mapping[str, Any]) -> None:
        before = self.state
        super()._write(status)
        after = self.state
        self._admitted(before, after)
        self._settled(before, after)
        self._started(before, after)
        self._moved(before, after)
        self._ended(before, after)

    def delete(self, deletion: Deletion) -> None:
        """S1, S7: only what the written state hands over, by the uid of a pod of ours."""
        state, pod = self.state, self.pods.get(deletion.instance)
        assert deletion.uid.startswith("pod-"), "S7"
        if pod is not None and pod.uid == deletion.uid and not pod.deleting and deletion.instance in state.builds:
            busy = state.applying | in_progress(state)
            assert deletion.instance in busy or pod.ended, "S1: deleted outside batch and request"
            build = state.builds[deletion.instance]
            assert pod.ended or not build.same_as(pod), "S9: deleted for nothing"
        super().delete(deletion)

    def change_image(self, wanted: ImageChange) -> None:
        """S1, S7: what the written state hands over, a pod of ours as it was seen, to the build written down for it."""
        state, pod = self.state, self.pods.get(wanted.instance)
        assert wanted.uid.startswith("pod-"), "S7"
        assert wanted.resource_version, "S7: changed in place whatever became of it"
        assert wanted.instance in state.applying | in_progress(state), "S1: changed outside batch and request"
        assert wanted.build == state.builds[wanted.instance], "S4: changed to another build than the one written down"
        assert pod is None or not wanted.build.same_as(pod), "S9: changed for nothing"
        super().change_image(wanted)

    # --- what a status may say after another

    def _admitted(self, before: State, after: State) -> None:
        """S1, S2, S3, S8: a batch is small enough, the gate is open, nothing forbids it."""
        rollout = running(after)
        earlier = in_progress(before)
        if rollout is None or not (admitted := rollout.in_progress - earlier):
            return
        policy = rollout.policy.rolling
        replicas = self.spec.replicas
        assert not earlier & rollout.in_progress, "S1: two batches at once"
        assert len(admitted) <= max(1, replicas * policy.max_batch_instance_percent // 100), (
            "S1: the batch is too large"
        )
        assert not self.spec.suspend, "a batch while suspended"
        assert rollout.ending is None, "S3: a batch after a decision to end"
        down = {n for n in after.builds if self.down(n)}
        only_broken = admitted <= down and (policy.prioritize_unhealthy_instances or rollout.kind is Kind.MODEL)
        assert only_broken or len(down) * 100 <= policy.max_unhealthy_instance_percent * replicas, (
            "S2: the gate is closed"
        )
        assert not {n for n in after.builds if self.starting(n)}, "S2: an instance still starts"
        upgraded = rollout.successful | rollout.failed
        spoilt = {n for n in upgraded if n in rollout.failed or n in down}
        assert len(spoilt) * 100 <= policy.max_unhealthy_upgraded_instance_percent * len(upgraded), "S3: after a breach"
        if rollout.target.reference == "latest" and rollout.target.version is not None:
            found = [v for v in self.catalogue if v.version == rollout.target.version and not v.excluded]
            assert found, "S8: a batch to a withdrawn version"
        assert admitted <= after.previous.keys(), "the way back is not written down"

    def _settled(self, before: State, after: State) -> None:
        """S10, S14: who leaves the batch is healthy on what it was to run, or late."""
        was, now = running(before), after.rollout
        if was is None or now is None or was.batch is None or now.id != was.id:
            return
        for number in (was.verifying - (now.verifying if now.running else NOBODY)) & after.builds.keys():
            pod, build = self.pods.get(number), before.builds[number]
            works = pod is not None and self.up(number) and build.same_as(pod)
            since = was.batch.started if pod is None or pod.deleting or not build.same_as(pod) else pod.begun
            if number in now.successful:
                assert works, f"S14: {number} counts as upgraded and is not"
            else:
                assert number in now.failed, f"S14: {number} is in no count"
                assert not works, f"S10: {number} is healthy and failed"
                assert self.now >= since + was.policy.health_timeout, f"S10: {number} failed too early"

    def _started(self, before: State, after: State) -> None:
        """S8: what failed is not tried again by the platform."""
        was, now = before.rollout, after.rollout
        if now is None or now.started_by is StartedBy.USER or (was is not None and was.id == now.id):
            return
        failed = {(f.model, f.version) for f in before.failed_targets if f.time > self.edited}
        assert (now.target.model, now.target.version) not in failed, "S8: a failed target is tried again"

    def _moved(self, before: State, after: State) -> None:
        """S4, S8: a build changes within batch or request, to the target or back; down only where a user pinned."""
        busy = after.applying | in_progress(after)
        rollout = after.rollout
        for number in before.builds.keys() & after.builds.keys():
            old, new = before.builds[number], after.builds[number]
            if old == new:
                continue
            assert number in busy, f"S1: {number} moves outside batch and request"
            if number in in_progress(after) and new == before.previous.get(number):
                assert rollout is not None, "S10"
                assert number in rollout.failed, f"S10: {number} goes back and did not fail"
            elif parts(new.version) < parts(old.version):
                assert self.pinned(new), f"S8: {number} goes down"

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
            self._breach(now)
            return
        protected = {item.id for item in self.spec.protected_instances}
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

    # --- health, again

    def up(self, number: int) -> bool:
        pod = self.pods.get(number)
        if pod is None or not pod.current:
            return False
        return pod.ready and not pod.deleting and pod.reporting and not pod.ended

    def down(self, number: int) -> bool:
        """Missing, going, broken, or not ready although it had its time."""
        return not self.up(number) and not self.starting(number)

    def starting(self, number: int) -> bool:
        pod = self.pods.get(number)
        if pod is None or pod.deleting or pod.ended or self.up(number) or not pod.reporting:
            return False
        new = pod.ready_since is None or (pod.change is not None and pod.ready_since <= (pod.started or 0.0) + 2)
        return (new or not pod.current) and self.now < pod.begun + 300
