"""The reconcile of UpgradePolicies: their validity, and the number of sets that refer to them."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta

from scaleset.api.upgrade_policy import UpgradePolicySpec, UpgradePolicyStatus
from scaleset.controllers.caches import Caches
from scaleset.controllers.status_writer import StatusWriter, condition, conditions
from scaleset.kube.resources import Key


@dataclass(eq=False)
class UpgradePolicyController:
    """Writes the status of policies. `now` is the API server's clock."""

    caches: Caches
    writer: StatusWriter
    _: KW_ONLY
    now: Callable[[], float]

    async def reconcile(self, key: Key) -> float | None:
        """Bring the status of one policy up to date."""
        seen = self.caches.policies.get(*key)
        if seen is None or seen.deleting:
            return None
        if seen.spec is not None:
            ready = condition(seen, "Ready", "Valid", usable(seen.spec), holds=True)
        else:
            ready = condition(seen, "Ready", "InvalidSpec", seen.problem, holds=False)
        existing = UpgradePolicyStatus.parse({"status": seen.status}).conditions
        wanted = {
            "observedGeneration": seen.generation,
            "scaleSets": self.caches.relations.users.number(key),
            "conditions": conditions(existing, ready, now=self.now()),
        }
        await self.writer.write(self.caches.policies, seen, wanted)
        return None


def usable(spec: UpgradePolicySpec) -> str:
    """The condition of a valid policy, with a warning about a value that is probably not intended: operators before 1.1
    wrote PT0S into every policy.
    """
    text = "The policy can be used."
    if spec.min_ready_time == timedelta(0):
        text += (
            " minReadyTime is PT0S: an instance counts as upgraded the moment that it is healthy. Set it to what an "
            "instance needs to show that it stays so, or remove it."
        )
    return text
