"""The reconcile of UpgradePolicies: whether they are valid and how many sets refer to them."""

from collections.abc import Callable
from datetime import UTC, datetime

from scaleset.api.conditions import Condition, set_condition
from scaleset.api.upgrade_policy import UpgradePolicyStatus
from scaleset.controllers.caches import Caches
from scaleset.controllers.status_writer import StatusWriter
from scaleset.records.projections import Key


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
            message="The policy can be used." if valid else seen.problem,
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
