"""A trace made up from a few lines: what happened to pods, claims and sets, and what the operator wrote."""

from dataclasses import replace
from typing import Any

from tests.cluster.harness import invariants, status_invariants, write_invariants
from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import RELABELLED, Seen, Trace, Write, parse_ranges

OLD, NEW, OTHER = "1.0.0", "2.0.0", "3.0.0"
WRITTEN = Write("", "", "", "", "ns", "", 200, "scaleset-operator/0", dry_run=False)
"""What requests of the operator have in common."""


class Story:
    """Builds a trace line by line; every line is one second after the one before."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.writes: list[Write] = []
        self.at = 0.0

    def trace(self, **settings: Any) -> Trace:
        return Trace(tuple(self.seen), tuple(self.writes), **settings)

    def see(self, kind: str, change: str, metadata: Json, **rest: Any) -> "Story":
        self.at += 1
        version = str(100 + len(self.seen))
        self.seen.append(Seen(self.at, change, kind, {"metadata": {**metadata, "resourceVersion": version}, **rest}))
        return self

    def scale_set(
        self,
        *,
        replicas: int = 10,
        change: str = "MODIFIED",
        protected: Any = (),
        generation: int = 1,
        **status: Any,
    ) -> "Story":
        spec = {"replicas": replicas, "upgradePolicyRef": {"name": "p"}, "protectedInstances": list(protected)}
        status = {"observedGeneration": 1, "replicas": replicas, **status}
        metadata = {"name": "web", "uid": "set", "generation": generation}
        return self.see("scalesets", change, metadata, spec=spec, status=status)

    def policy(self, percent: int, timeout: str = "PT5M") -> "Story":
        spec = {"rollingUpgradePolicy": {"maxBatchInstancePercent": percent}, "healthTimeout": timeout}
        return self.see("upgradepolicies", "ADDED", {"name": "p", "uid": "policy"}, spec=spec)

    def pod(
        self,
        instance: int,
        uid: str,
        *,
        change: str = "MODIFIED",
        version: str = OLD,
        ready: bool = False,
        ending: bool = False,
        owner: str = "ScaleSet",
        scale_set: str = "web",
        relabelled: str = "",
    ) -> "Story":
        metadata: Json = {
            "name": f"web-{instance}",
            "uid": uid,
            "labels": {
                "scaleset.dev/name": scale_set,
                "scaleset.dev/instance-id": str(instance),
                "scaleset.dev/image-version": version,
            },
            "ownerReferences": [{"kind": owner, "controller": True, "uid": "set"}],
        }
        if relabelled:
            metadata["labels"][RELABELLED] = relabelled
        if ending:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        conditions = [{"type": "Ready", "status": str(ready)}]
        spec = {"containers": [{"image": f"os:{version}"}]}
        return self.see("pods", change, metadata, spec=spec, status={"conditions": conditions})

    def fleet(self, count: int) -> "Story":
        for instance in range(count):
            self.pod(instance, f"old-{instance}", change="ADDED", ready=True)
        return self

    def take(self, *instances: int) -> "Story":
        """The operator deletes these pods."""
        for instance in instances:
            self.write("delete", "pods", f"web-{instance}", body={"preconditions": {"uid": f"old-{instance}"}})
            self.pod(instance, f"old-{instance}", ending=True)
            self.pod(instance, f"old-{instance}", ending=True, change="DELETED")
        return self

    def give(self, *instances: int, version: str = NEW, ready: bool = True) -> "Story":
        """The operator creates their replacements, which become ready or not."""
        for instance in instances:
            self.write("create", "pods", f"web-{instance}")
            self.pod(instance, f"new-{instance}", change="ADDED", version=version)
            if ready:
                self.pod(instance, f"new-{instance}", version=version, ready=True)
        return self

    def write(self, verb: str, resource: str, name: str, **rest: Any) -> "Story":
        """A request of the operator, whose other fields are those of `WRITTEN` or `rest`."""
        self.writes.append(replace(WRITTEN, verb=verb, resource=resource, name=name, **rest))
        return self

    def rollout(
        self,
        code: str = "RollingForward",
        *,
        version: str = NEW,
        run: str = "r1",
        scale_set: Json | None = None,
        **fields: Any,
    ) -> "Story":
        target = {"exactVersion": version, "image": f"os:{version}"}
        counts = {
            count: len(parse_ranges(fields.get(part))) for count, part in status_invariants.COUNTS.items()
        } | fields.pop("progress", {})
        rollout = {
            "id": run,
            "kind": "Image",
            "runningStatus": {"code": code},
            "targetImageReference": target,
            "progress": counts,
            "error": {"message": "why"} if code == "Faulted" else None,
            **fields,
        }
        return self.scale_set(rollingUpgrade=rollout, **(scale_set or {}))


def violations(rules: Any, name: str, trace: Trace) -> list[str]:
    return list(rules[name](trace))


def s(name: str, story: Story, **settings: Any) -> list[str]:
    return violations(invariants.RULES, name, story.trace(**settings))


def w(name: str, story: Story, **settings: Any) -> list[str]:
    return violations(write_invariants.RULES, name, story.trace(**settings))


def t(name: str, story: Story) -> list[str]:
    return violations(status_invariants.RULES, f"S14 {name}", story.trace())


def begun(replicas: int = 10) -> Story:
    return Story().scale_set(replicas=replicas, change="ADDED").fleet(replicas)
