"""A world that knows whom scaling in has taken, and judges how many of these are on their way out."""

from dataclasses import dataclass, field
from typing import Any

from scaleset.planner.state import State
from tests.simulation.verdicts import running
from tests.simulation.world import World


@dataclass
class Leaving(World):
    """A pair of a surging batch counts once where both go, and not at all where the surge lets one of them go."""

    largest: int = 0
    """The largest size that the set was asked to have so far."""
    replaces: dict[str, int] = field(default_factory=dict)
    """Pods of new instances that scaling in took together with the old ones that they were to replace: one instance."""
    let_go: set[str] = field(default_factory=set)
    """Pods of one of the two instances that were side by side: a surge lets it go, and not scaling in."""

    def _goes(self, before: State, after: State) -> None:
        """Record who leaves a surging batch."""
        batch = run.batch if (run := running(before)) is not None else None
        gone = before.builds.keys() - after.builds.keys()
        for new, old in batch.pairs.items() if batch is not None else ():
            pods = [self.pods[number].uid for number in (new, old) if number in gone and number in self.pods]
            if {new, old} <= gone:
                self.replaces |= dict.fromkeys(pods, old)
            else:
                self.let_go.update(pods)

    def change(self, **changes: Any) -> None:
        self.largest = max(self.largest, self.spec.replicas)
        super().change(**changes)

    @property
    def left(self) -> list[int]:
        """Instances that scaling in has taken and whose pods are going. Those of a surging batch are not its, and a pod
        that does not end is given up in time.
        """
        timeout = self.policy.health_timeout.total_seconds() if self.policy is not None else 300.0
        gone = {
            self.replaces.get(pod.uid, number)
            for number, pod in self.pods.items()
            if pod.deleting
            and number not in self.state.builds
            and pod.uid not in self.let_go
            and (pod.deletion_due is None or self.now < pod.deletion_due + timeout)
        }
        return sorted(gone)

    def batch_of_scaling_in(self, size: int) -> int:
        """How many instances scaling in may take from a set of that size at a time."""
        if self.spec.ordered:
            return 1
        most = self.spec.scale_in_policy.max_concurrent
        if isinstance(most, int):
            return most
        percent = self.policy.rolling_upgrade_policy.max_batch_instance_percent if self.policy is not None else 20
        return max(1, size * (int(most[:-1]) if most is not None else percent) // 100)

    def _scaled_in(self) -> None:
        """S1: of the instances that scaling in takes at most a batch is on its way out."""
        limit = self.batch_of_scaling_in(max(self.largest, self.spec.replicas))
        assert len(self.left) <= limit, f"S1: scaling in takes {self.left} together, at most {limit} may go"
