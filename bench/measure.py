"""One measurement: a fleet is set up, an image published, and what happens is watched from outside."""

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import urllib3

from tests.cluster.harness.api import NAMESPACES, PODS, Api, ApiError, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.trace import AuditLog, Write

from .contenders import DEADLINE_SECONDS, DEFAULTS, NAME, Contender, Place, image
from .controllers import Controllers, MachineLoad
from .fleet import Fleet, NotInTimeError
from .results import BadImage, Rollout

FIRST, BAD = "1.0.0-fast", "1.9.0-bad"
SETTLE_SECONDS = 3
"""What is written so long after the last instance became Ready still belongs to the rollout."""
PATIENCE_SECONDS = DEADLINE_SECONDS + 15
"""Who has not come back from a bad image by then, does not."""
HELP_SECONDS = 15
_versions = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster and the programs of everybody. `folder` is for logs."""

    cluster: Cluster
    binaries: Path
    peers: Path
    folder: Path

    @property
    def api(self) -> Api:
        return self.cluster.api


class Trial:
    """One contender with N instances in a namespace of its own."""

    def __init__(self, site: Site, contender: Contender, replicas: int, *, start: float = 1, purpose: str = "") -> None:
        self._site, self.contender, self.replicas, self._start = site, contender, replicas, start
        self._touches = itertools.count(1)
        self._running: Controllers | None = None
        self.namespace = "-".join(filter(None, (contender.name, str(replicas), purpose)))
        folder = site.folder / self.namespace
        folder.mkdir(parents=True, exist_ok=True)
        self._place = Place(site.cluster.kubeconfig, self.namespace, site.binaries, site.peers, folder)

    def set_up(self) -> None:
        """Makes the fleet, with the highest limits that there are: this is not what is measured."""
        api = self._site.api
        self._site.cluster.make_namespace(self.namespace)
        # The clusters' own start is one second: the annotation says so where it is another.
        annotations = {} if self._start == 1 else {"sim.scaleset.dev/start": f"{self._start:g}s"}
        with Fleet(api, self.namespace, replicas=self.replicas) as fleet, self._controllers("setup") as controllers:
            self.contender.create(api, self.namespace, replicas=self.replicas, tag=FIRST, annotations=annotations)
            fleet.wait(
                lambda tally: tally.done(image(FIRST)),
                controllers,
                timeout=60 + 0.5 * self.replicas,
                message=f"{self.replicas} instances are set up",
            )
            self._acknowledged(controllers)  # what it knows of them is in its status

    def roll(self, limits: str, *, together: bool = False) -> Rollout:
        """Publishes a good image and follows it to the end, by a controller that was just started."""
        row = Rollout(self.contender.name, limits, self.replicas, self._start, together=together)
        tag = f"1.{next(_versions)}.0"
        api = self._site.api
        with Fleet(api, self.namespace, replicas=self.replicas) as fleet, self._controllers(limits) as controllers:
            self._acknowledged(controllers)
            audit = AuditLog(self._site.cluster.audit_log)
            fleet.reset()
            controllers.reset()
            load, began = MachineLoad.now(), monotonic()
            self.contender.publish(api, self.namespace, tag)
            ended = fleet.wait(
                lambda tally: tally.done(image(tag)),
                controllers,
                timeout=self._patience(),
                message=f"all are Ready on {tag}",
            )
            machine = MachineLoad.now().since(load)
            phases = fleet.count(lambda tally: tally.phases)
            sleep(SETTLE_SECONDS)  # there is no event for "writes no more"
            usage = controllers.usage()
            writes = [each for agent in self.contender.agents for each in audit.writes(agent, self.namespace)]
            unavailable = fleet.count(lambda tally: tally.most_unavailable)
        return replace(
            row,
            seconds=ended - began,
            most_unavailable=unavailable,
            writes=count(writes),
            cpu=usage.cpu,
            memory=usage.memory,
            machine=machine,
            quiet=phases.quiet,
            starting=phases.starting,
        )

    def break_image(self) -> BadImage:
        """Publishes an image that never becomes Ready; whoever does not come back from it alone is helped."""
        row = BadImage(self.contender.name, self.replicas, DEADLINE_SECONDS, patience=PATIENCE_SECONDS)
        api, bad = self._site.api, image(BAD)
        with Fleet(api, self.namespace, replicas=self.replicas) as fleet, self._controllers(DEFAULTS) as controllers:

            def healthy(timeout: float) -> float:
                message = "all are Ready without the bad image"
                return fleet.wait(
                    lambda tally: tally.healthy_without(bad), controllers, timeout=timeout, message=message
                )

            self._acknowledged(controllers)
            fleet.reset()
            began = monotonic()
            self.contender.publish(api, self.namespace, BAD)
            fleet.wait(
                lambda tally: tally.exposed_to(bad) > 0, controllers, timeout=30, message="the first has the bad image"
            )
            try:
                row = replace(row, alone=healthy(PATIENCE_SECONDS) - began)
                sleep(SETTLE_SECONDS)  # is it tried on anybody else?
            except NotInTimeError:
                row = replace(row, **self._help(bad, healthy))
            return replace(
                row,
                exposed=fleet.count(lambda tally: tally.exposed_to(bad)),
                most_unavailable=fleet.count(lambda tally: tally.most_unavailable),
            )

    def _help(self, bad: str, healthy: Callable[[float], float]) -> dict[str, Any]:
        """Does what a human would do, one thing after the other; `helped` counts from the last one."""
        began = monotonic()
        self.contender.put_back(self._site.api, self.namespace, FIRST)
        try:
            return {"human": "set the image back", "helped": healthy(HELP_SECONDS) - began}
        except NotInTimeError:
            began = monotonic()
            stuck = self._delete_stuck(bad)
            human = f"set the image back and delete {stuck} pod{'' if stuck == 1 else 's'}"
            return {"human": human, "helped": healthy(4 * HELP_SECONDS) - began}

    def clean(self) -> None:
        """Afterwards none of its pods is left to disturb others."""
        api, kind = self._site.api, self.contender.kind
        if api.find(NAMESPACES, None, self.namespace) is None:
            return
        if api.find(kind, self.namespace, NAME) is not None:
            api.delete(kind, self.namespace, NAME, propagationPolicy="Background")
        deadline = monotonic() + 60 + self.replicas / 5
        while api.list(PODS, self.namespace):
            if monotonic() > deadline:
                raise NotInTimeError(f"the pods of {self.namespace} are gone: not in time")
            with suppress(urllib3.exceptions.HTTPError):  # took longer than a request may: the next one goes on
                api.delete(PODS, self.namespace, "")  # all of them
            sleep(0.5)
        api.delete(NAMESPACES, None, self.namespace)

    def stop(self) -> None:
        """Ends its controllers, and so whatever another thread waits for."""
        if self._running is not None:
            self._running.stop()

    def _controllers(self, limits: str) -> Controllers:
        known = self.contender.limits[-1] if limits == "setup" else limits
        log = self._place.folder / f"{limits}.log"
        self._running = Controllers(self.contender.commands(self._place, known), log)
        return self._running

    def _acknowledged(self, controllers: Controllers) -> None:
        """Until they are at work: a change that means nothing has reached the status."""
        api, where = self._site.api, (self.contender.kind, self.namespace, NAME)
        changed = api.patch(*where, {"spec": self.contender.touch(next(self._touches))})
        generation = changed["metadata"]["generation"]
        deadline = monotonic() + 90
        while _observed(api.get(*where)) < generation:
            controllers.check()
            if monotonic() > deadline:
                raise NotInTimeError(f"{self.contender.title} looked at its object: not within 90 s")
            sleep(0.1)

    def _patience(self) -> float:
        each = 3.0 if self.contender.one_by_one else 0.35
        return 60 + self.replicas * each + 10 * self._start

    def _delete_stuck(self, bad: str) -> int:
        api, deleted = self._site.api, 0
        for pod in api.list(PODS, self.namespace):
            if pod["spec"]["containers"][0]["image"] == bad:
                with suppress(ApiError):  # its controller was faster
                    api.delete(PODS, self.namespace, pod["metadata"]["name"])
                    deleted += 1
        return deleted


def count(writes: list[Write]) -> dict[str, int]:
    """Writes that took effect, by resource, most frequent first; leases left out."""
    counted = Counter(
        "/".join(filter(None, (each.resource, each.subresource)))
        for each in writes
        if each.took_effect and each.resource != "leases"
    )
    return dict(counted.most_common())


def _observed(found: Json) -> int:
    """Argo Rollouts has it as a text."""
    return int((found.get("status") or {}).get("observedGeneration") or 0)
