"""What happens in the observed fleet. Every step waits for what Prometheus says, not for time to pass."""

from collections.abc import Callable
from time import monotonic, sleep

from hack.ended import NotPossibleError
from hack.observe.fleet import API, DB, SEARCH, SETS, WEB, Fleet
from hack.observe.prometheus import Prometheus

PATIENCE = 300.0
"""Seconds for a step that takes less than a minute on an idle machine."""


class Scenario:
    """`say` gets a line for each step; `alive` ends the waiting when it is False."""

    def __init__(
        self, fleet: Fleet, prometheus: Prometheus, *, say: Callable[[str], None], alive: Callable[[], bool]
    ) -> None:
        self._fleet, self._prometheus, self._say, self._alive = fleet, prometheus, say, alive

    def begin(self) -> None:
        """All sets are there and healthy."""
        everybody = sum(each.replicas for each in SETS)
        self._say(f"Creating {len(SETS)} sets with {everybody} instances of version 1.0.0 ...")
        self._fleet.create()
        self._until(f'sum(scaleset_instances{{health="Healthy"}}) == {everybody}', "all instances to be healthy")

    def good(self) -> None:
        """Two rollouts that complete."""
        self._say(f"Publishing 1.1.0 for {WEB} and {DB}: it works ...")
        for name in (WEB, DB):
            self._fleet.publish(name, "1.1.0")
        for name in (WEB, DB):
            self._until(status(name, "Completed"), f"the rollout of {name} to complete")

    def bad(self) -> None:
        """One set faults, one is suspended within its rollout, one still rolls."""
        self._say(f"Publishing 1.2.0 for {WEB}: it never becomes ready. And 1.1.0 for {API} and {SEARCH} ...")
        self._fleet.publish(SEARCH, "1.1.0")
        self._fleet.publish(WEB, "1.2.0", works=False)
        self._until(f'scaleset_rollout_batch{{scaleset="{SEARCH}"}} >= 2', f"the second batch of {SEARCH}")
        self._say(f"Suspending {SEARCH} ...")
        self._fleet.suspend(SEARCH)
        self._fleet.publish(API, "1.1.0")
        self._until(status(SEARCH, "Paused"), f"the rollout of {SEARCH} to stand still")
        self._until(status(WEB, "Faulted"), f"the rollout of {WEB} to be stopped")
        self._until('ALERTS{alertname="ScaleSetRolloutFaulted",alertstate="firing"}', "the alert to fire")
        self._until(f'scaleset_rollout_batch{{scaleset="{API}"}} >= 2', f"the second batch of {API}")

    def go_on(self, every: float = 60) -> None:
        """Until interrupted: a version a minute for `web`, every second one bad, and now and then one for `api`."""
        minor = 3
        while True:
            self._sleep(every)
            works = minor % 2 == 1
            self._say(f"Publishing 1.{minor}.0 for {WEB}: it {'works' if works else 'never becomes ready'} ...")
            self._fleet.publish(WEB, f"1.{minor}.0", works=works)
            if minor % 2 == 0:
                self._say(f"Publishing 1.{minor}.0 for {API}: it works ...")
                self._fleet.publish(API, f"1.{minor}.0")
            minor += 1

    def _sleep(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            self._check()
            sleep(0.5)

    def _until(self, expression: str, what: str) -> None:
        deadline = monotonic() + PATIENCE
        while not self._prometheus.query(expression):
            self._check()
            if monotonic() > deadline:
                raise NotPossibleError(f"Waited {PATIENCE:g} s for {what}.")
            sleep(0.2)

    def _check(self) -> None:
        if not self._alive():
            raise NotPossibleError("The operator or Prometheus has ended.")


def status(name: str, value: str) -> str:
    """Answers a series when the rollout of that set is in that status."""
    return f'scaleset_rollout_status{{scaleset="{name}",status="{value}"}} == 1'
