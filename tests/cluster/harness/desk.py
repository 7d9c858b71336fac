"""What the tests of a module share: a namespace with a policy and an image, an operator, and what it says of sets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder, World
from tests.cluster.harness.trace import AuditLog


@dataclass
class Desk:
    """One namespace, one operator. `foreign` is another namespace that the operator serves."""

    api: Api
    namespace: str
    foreign: str
    recorder: Recorder
    operator: Operator

    def create(self, body: Json) -> None:
        self.api.create(SCALE_SETS, self.namespace, body)

    def change(self, name: str, spec: Json) -> None:
        self.api.patch(SCALE_SETS, self.namespace, name, {"spec": spec})

    def wait_accepted(self, name: str, status: str, reason: str, *, timeout: float = 15) -> str:
        """Waits for that condition; its message."""

        def found(world: World) -> Json:
            accepted = accepted_condition(world, name)
            right = (accepted.get("status"), accepted.get("reason")) == (status, reason)
            return accepted if right else {}

        what = f"{name} gets Accepted={status}, reason {reason}"
        return str(self.recorder.wait_for(found, timeout=timeout, message=what)["message"])


def accepted_condition(world: World, name: str) -> Json:
    conditions = world.status(name).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Accepted"), {})


@contextmanager
def open_desk(cluster: Cluster, name: str, directory: Path) -> Iterator[Desk]:
    """A desk in the namespace `name`. At its end all invariants are checked, and that the operator never crashed."""
    api = cluster.api
    namespace, foreign = cluster.make_namespace(name), cluster.make_namespace(f"{name}-foreign")
    with Recorder(api, namespace, AuditLog(cluster.audit_log)) as recorder:
        recorder.also(foreign)
        operator = Operator(
            kubeconfig=cluster.kubeconfig,
            namespaces=[namespace, foreign],
            log=directory / "operator.log",
            arguments=["--no-leader-elect"],
        )
        operator.start()
        operator.wait_ready()
        api.create(POLICIES, namespace, upgrade_policy())
        api.create(IMAGES, namespace, image_version("1.0.0", behaviour="fast"))
        yield Desk(api, namespace, foreign, recorder, operator)
        operator.stop()
        log = operator.log()
    assert not recorder.violations()
    assert "Traceback" not in log, log[-5000:]


def templated(name: str, change: Callable[[Json], None], **spec: Any) -> Json:
    """A set whose pods are changed."""
    body = scale_set(name, replicas=1, **spec)
    change(body["spec"]["template"]["spec"])
    return body


def with_field(key: str, value: Any) -> Callable[[Json], None]:
    """A change of a pod: one field of its spec."""
    return lambda pod: pod.update({key: value})


def retemplate(change: Callable[[Json], None], **spec: Any) -> Callable[[Desk, str], None]:
    """A merge patch: what is not named stays, None removes."""
    return lambda desk, name: desk.change(name, {**spec, "template": templated(name, change)["spec"]["template"]})


def without(key: str) -> Callable[[Json], None]:
    return with_field(key, None)
