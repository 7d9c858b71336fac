"""The reconcile of UpgradePolicies: their validity, and the number of sets that refer to them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from scaleset.api.conditions import Condition, set_condition
from scaleset.api.upgrade_policy import UpgradePolicySpec, UpgradePolicyStatus
from scaleset.controllers.caches import Caches
from scaleset.controllers.status_writer import StatusWriter
from scaleset.kube.resources import Key


class UpgradePolicyController:
    """Writes the status of policies. `now` is the API server's clock."""

    def __init__(self, caches: Caches, writer: StatusWriter, *, now: Callable[[], float]) -> None:
        self._caches = caches
        self._writer = writer
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        """Bring the status of one policy up to date."""
        seen = self._caches.policies.get(*key)
        if seen is None or seen.deleting:
            return None
        valid = seen.spec is not None
        ready = Condition(
            type="Ready",
            status="True" if valid else "False",
            reason="Valid" if valid else "InvalidSpec",
            message=usable(seen.spec) if seen.spec is not None else seen.problem,
            observed_generation=seen.generation,
        )
        existing = UpgradePolicyStatus.parse({"status": seen.status}).conditions
        now = datetime.fromtimestamp(self._now(), UTC)
        conditions = [condition.to_raw() for condition in set_condition(existing, ready, now)]
        wanted = {
            "observedGeneration": seen.generation,
            "scaleSets": self._caches.relations.users.number(key),
            "conditions": conditions,
        }
        await self._writer.write(self._caches.policies, seen, wanted)
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
