"""Who is compared, each in its best honest configuration: what it is asked for, how it is started, what publishing is.

Everybody may take down a fifth of the instances at a time, nobody may run more than N. Settings that have nothing to do
with that are the defaults.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from hack.ports import reserve_port
from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS, Api, Json, Kind
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy

from .controllers import Command

NAME = "web"
BATCH_PERCENT = 20
DEADLINE_SECONDS = 20
"""How long an instance (ours) or a rollout (peers) may make no progress before it counts as failed."""

DEFAULTS, RAISED = "defaults", "raised"
FEATURE_GATES = "MaxUnavailableStatefulSet=true"
BUILT_IN = ("statefulset-controller", "deployment-controller", "replicaset-controller")
"""Controllers that the cluster's own kube-controller-manager leaves to the one that is measured."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Place:
    """Where a controller works. `binaries` and `peers`: the folders of the control plane's and the peers' programs.
    Ports of controllers are reserved as long as this is there.
    """

    kubeconfig: Path
    namespace: str
    binaries: Path
    peers: Path
    folder: Path


class Contender(Protocol):
    """One row of the tables."""

    @property
    def name(self) -> str:
        """Its key on the command line and in the results."""

    @property
    def title(self) -> str: ...

    @property
    def limits(self) -> Sequence[str]:
        """What there is to choose of: DEFAULTS, RAISED."""

    @property
    def kind(self) -> Kind: ...

    @property
    def agents(self) -> Sequence[str]:
        """How the User-Agents of its controllers begin."""

    @property
    def alone_with(self) -> str:
        """What serves all namespaces, so that no two contenders that have it can run at the same time."""

    @property
    def one_by_one(self) -> bool:
        """Whether it replaces one instance after the other: then only the smallest size is measured."""

    @property
    def settings(self) -> str:
        """What was set, in words."""

    @property
    def module(self) -> str:
        """The folder in bench/modules that pins it; empty for us and for what is part of Kubernetes."""

    def commands(self, place: Place, limits: str) -> Sequence[Command]: ...

    def create(self, api: Api, namespace: str, *, replicas: int, tag: str, annotations: Mapping[str, str]) -> None: ...

    def publish(self, api: Api, namespace: str, tag: str) -> None:
        """The one request that starts a rollout."""

    def touch(self, number: int) -> Json:
        """A change of the spec that means nothing, another one for every number: who answers it is at work."""

    def put_back(self, api: Api, namespace: str, tag: str) -> None:
        """What a human does after a bad image: the previous one is asked for again."""


def image(tag: str) -> str:
    """The reference behind a tag of `contenders`, e.g. `2.0.0-bad`; ours are published with a digest."""
    version, _, behaviour = tag.partition("-")
    return str(image_version(version, behaviour=behaviour)["spec"]["image"])


@dataclass(frozen=True, slots=True)
class Ours:
    """This project."""

    name: str
    title: str
    method: str
    settings: str
    limits: Sequence[str] = (DEFAULTS,)
    kind: Kind = SCALE_SETS
    agents: Sequence[str] = ("scaleset-operator/",)
    alone_with: str = ""
    one_by_one: bool = False
    module: str = ""

    def commands(self, place: Place, limits: str) -> Sequence[Command]:
        assert limits in self.limits, limits
        address = [f"127.0.0.1:{reserve_port(place)}" for _ in range(2)]
        arguments = ["--kubeconfig", str(place.kubeconfig), "--namespace", place.namespace]
        arguments += ["--metrics-bind-address", address[0], "--health-bind-address", address[1]]
        return [Command([sys.executable, "-m", "scaleset", *arguments])]

    def create(self, api: Api, namespace: str, *, replicas: int, tag: str, annotations: Mapping[str, str]) -> None:
        # 60 s for a start of 10 s; with a start of one second the deadline is that of the peers.
        timeout = f"PT{DEADLINE_SECONDS if not annotations else 60}S"
        policy = upgrade_policy(healthTimeout=timeout, replacementMethod=self.method)
        api.apply(POLICIES, namespace, policy)
        self.publish(api, namespace, tag)
        body = scale_set(NAME, replicas=replicas, singlePlacementGroup=False)
        body["spec"]["template"]["metadata"]["annotations"] = dict(annotations)
        api.create(SCALE_SETS, namespace, body)

    def publish(self, api: Api, namespace: str, tag: str) -> None:
        version, _, behaviour = tag.partition("-")
        api.create(IMAGES, namespace, image_version(version, behaviour=behaviour))

    def touch(self, number: int) -> Json:
        return {"scaleInPolicy": {"rules": [("Default", "NewestVM")[number % 2]]}}

    def put_back(self, api: Api, namespace: str, tag: str) -> None:
        raise NotImplementedError("a ScaleSet comes back from a bad image by itself; this one did not in time")


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else's controller of a workload with a pod template."""

    name: str
    title: str
    kind: Kind
    agents: Sequence[str]
    settings: str
    spec: Json
    start: Sequence[Callable[[Place, str], Command]]
    alone_with: str = ""
    gates: Sequence[str] = ()
    limits: Sequence[str] = (DEFAULTS, RAISED)
    one_by_one: bool = False
    module: str = ""

    def commands(self, place: Place, limits: str) -> Sequence[Command]:
        return [start(place, limits) for start in self.start]

    def create(self, api: Api, namespace: str, *, replicas: int, tag: str, annotations: Mapping[str, str]) -> None:
        group = f"{self.kind.group}/{self.kind.version}"
        labels = {"app": NAME}
        template = {
            "metadata": {"labels": labels, "annotations": dict(annotations)},
            "spec": {"containers": self._containers(tag), **self._readiness_gates()},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **self.spec}
        body = {"apiVersion": group, "kind": OBJECT_KINDS[self.kind.plural], "metadata": {"name": NAME}, "spec": spec}
        api.create(self.kind, namespace, body)

    def publish(self, api: Api, namespace: str, tag: str) -> None:
        patch = {"spec": {"template": {"spec": {"containers": self._containers(tag)}}}}
        api.patch(self.kind, namespace, NAME, patch)

    def touch(self, number: int) -> Json:
        return {"revisionHistoryLimit": 10 + number % 2}

    def put_back(self, api: Api, namespace: str, tag: str) -> None:
        self.publish(api, namespace, tag)

    def _containers(self, tag: str) -> list[Json]:
        probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
        return [{"name": "os", "image": image(tag), "readinessProbe": probe}]

    def _readiness_gates(self) -> Json:
        return {"readinessGates": [{"conditionType": gate} for gate in self.gates]} if self.gates else {}


OBJECT_KINDS = {
    "clonesets": "CloneSet",
    "deployments": "Deployment",
    "rollouts": "Rollout",
    "statefulsets": "StatefulSet",
}
QPS, BURST = 5000, 10000
"""What "raised" means: more than any controller here ever sends."""


def _manager(*controllers: str) -> Callable[[Place, str], Command]:
    def start(place: Place, limits: str) -> Command:
        arguments = ["--kubeconfig", str(place.kubeconfig), "--controllers", ",".join(controllers)]
        arguments += ["--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={reserve_port(place)}"]
        arguments += [f"--cert-dir={place.folder}", f"--feature-gates={FEATURE_GATES}"]
        if limits == RAISED:
            arguments += [f"--kube-api-qps={QPS}", f"--kube-api-burst={BURST}"]
        return Command([str(place.binaries / "kube-controller-manager"), *arguments])

    return start


def _kruise(place: Place, limits: str) -> Command:
    arguments = ["--enable-leader-election=false", "--enable-pprof=false"]
    arguments += ["--feature-gates=KruiseDaemon=false,PodWebhook=false", "--logtostderr=true"]
    arguments += ["--metrics-addr=0", f"--health-probe-addr=127.0.0.1:{reserve_port(place)}"]
    if limits == RAISED:
        arguments += [f"--rest-config-qps={QPS}", f"--rest-config-burst={BURST}"]
    # It makes its own certificate for the host that is named here.
    environment = {
        "KUBECONFIG": str(place.kubeconfig),
        "POD_NAMESPACE": "default",
        "WEBHOOK_HOST": "localhost",
        "WEBHOOK_PORT": str(reserve_port(place)),
        "WEBHOOK_CERT_DIR": str(place.folder / "certificates"),
    }
    return Command([str(place.peers / "kruise-manager"), *arguments], environment)


def _argo(place: Place, limits: str) -> Command:
    arguments = ["--kubeconfig", str(place.kubeconfig), "--namespaced", "--namespace", place.namespace]
    arguments += [
        "--leader-elect=false",
        f"--metricsPort={reserve_port(place)}",
        f"--healthzPort={reserve_port(place)}",
    ]
    if limits == RAISED:
        arguments += [f"--qps={QPS}", f"--burst={BURST}"]
    return Command([str(place.peers / "rollouts-controller"), *arguments])


MANAGER = "kube-controller-manager/"
BUDGET = f"{BATCH_PERCENT}%"

_stateful_set = partial(
    Peer,
    kind=Kind("statefulsets", "apps"),
    agents=(MANAGER,),
    start=(_manager("statefulset-controller"),),
)
_of_kruise = partial(Peer, agents=("kruise-manager",), alone_with="kruise-manager", start=(_kruise,), module="kruise")

CONTENDERS: tuple[Contender, ...] = (
    Ours("ours", "ScaleSet", "Recreate", "defaults"),
    Ours("ours-in-place", "ScaleSet in place", "InPlaceIfPossible", "replacementMethod: InPlaceIfPossible"),
    _stateful_set(
        name="statefulset",
        title="StatefulSet Parallel",
        spec={
            "serviceName": NAME,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": BUDGET}},
        },
        settings=f"podManagementPolicy: Parallel, maxUnavailable: {BUDGET} (feature gate MaxUnavailableStatefulSet)",
    ),
    _stateful_set(
        name="statefulset-ordered",
        title="StatefulSet OrderedReady",
        spec={"serviceName": NAME, "podManagementPolicy": "OrderedReady"},
        settings="its defaults: one pod after the other",
        limits=(DEFAULTS,),
        one_by_one=True,
    ),
    Peer(
        name="deployment",
        title="Deployment",
        kind=Kind("deployments", "apps"),
        agents=(MANAGER,),
        spec={
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": BUDGET, "maxSurge": 0}},
            "progressDeadlineSeconds": DEADLINE_SECONDS,
        },
        settings=f"maxUnavailable: {BUDGET}, maxSurge: 0, progressDeadlineSeconds: {DEADLINE_SECONDS}",
        start=(_manager("deployment-controller", "replicaset-controller"),),
        alone_with="replicaset-controller",
    ),
    _of_kruise(
        name="kruise-statefulset",
        title="OpenKruise Advanced StatefulSet in place",
        kind=Kind("statefulsets", "apps.kruise.io", "v1beta1"),
        spec={
            "serviceName": NAME,
            "podManagementPolicy": "Parallel",
            "revisionHistoryLimit": 10,
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxUnavailable": BUDGET,
                    "podUpdatePolicy": "InPlaceIfPossible",
                    "partition": 0,
                    "minReadySeconds": 0,
                },
            },
        },
        settings=f"podManagementPolicy: Parallel, podUpdatePolicy: InPlaceIfPossible, maxUnavailable: {BUDGET}",
        gates=("InPlaceUpdateReady",),
    ),
    _of_kruise(
        name="kruise-cloneset",
        title="OpenKruise CloneSet in place",
        kind=Kind("clonesets", "apps.kruise.io", "v1alpha1"),
        spec={
            "revisionHistoryLimit": 10,
            "updateStrategy": {
                "type": "InPlaceIfPossible",
                "maxUnavailable": BUDGET,
                "maxSurge": 0,
                "partition": 0,
            },
        },
        settings=f"updateStrategy: InPlaceIfPossible, maxUnavailable: {BUDGET}, maxSurge: 0",
    ),
    Peer(
        name="argo-rollouts",
        title="Argo Rollouts",
        kind=Kind("rollouts", "argoproj.io", "v1alpha1"),
        agents=("rollouts-controller", MANAGER),
        alone_with="replicaset-controller",
        spec={
            "strategy": {"canary": {"maxUnavailable": BUDGET, "maxSurge": 0}},
            "progressDeadlineSeconds": DEADLINE_SECONDS,
            "progressDeadlineAbort": True,
        },
        settings=(
            f"canary without steps, maxUnavailable: {BUDGET}, maxSurge: 0, "
            f"progressDeadlineSeconds: {DEADLINE_SECONDS}, progressDeadlineAbort: true"
        ),
        start=(_argo, _manager("replicaset-controller")),
        module="argo-rollouts",
    ),
)


def chosen(names: str) -> tuple[Contender, ...]:
    """Those named, separated by commas; `kruise` means both of OpenKruise, an empty string all.

    Raises ValueError with a sentence that lists the names when one is unknown.
    """
    found: list[Contender] = []
    for name in filter(None, (each.strip() for each in names.split(","))):
        more = [each for each in CONTENDERS if each.name == name or each.name.startswith(f"{name}-")]
        if not more:
            known = ", ".join(each.name for each in CONTENDERS)
            raise ValueError(f"There is no contender {name!r}; choose of {known}.")
        found += more
    return tuple(each for each in CONTENDERS if each in found) if names.strip() else CONTENDERS
