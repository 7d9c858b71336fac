"""Ways to the API server that a kubeconfig and the environment know: kopf goes them as our client does, and the plugin
too. Where kopf did not, the operator led and heard of nothing but by the list that it takes every minute.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cluster.harness.api import Api, Json, Kind, condition
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import deploy, until
from tests.cluster.harness.forward import ForwardProxy, Relay
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.plugin import Plugin
from tests.cluster.harness.recorder import Recorder

pytestmark = pytest.mark.timeout(120)

BINDINGS = Kind("clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False)
NAME = "api.example.test"
"""A host that is known to nobody but the proxy, and that the server's certificate does not name."""
SOON_SECONDS = 20.0
"""Well below the minute between two lists."""


@dataclass(frozen=True, slots=True)
class Ways:
    """To the API server, without its own address."""

    proxy: ForwardProxy
    relay: Relay


@pytest.fixture
def ways(cluster: Cluster) -> Iterator[Ways]:
    server = urlsplit(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    there = (server.hostname or "", server.port or 0)
    with ForwardProxy({NAME: there}) as proxy, Relay(there) as relay:
        yield Ways(proxy, relay)


Change = Callable[[Json, Json, Ways], dict[str, str]]
"""Changes the cluster and the user of a kubeconfig; returns variables of the environment."""


def proxy_and_name(cluster: Json, _user: Json, ways: Ways) -> dict[str, str]:
    cluster |= {
        "server": f"https://{NAME}:6443",
        "proxy-url": ways.proxy.url,
        "tls-server-name": "kubernetes.default.svc",
    }
    return {}


def proxy_of_the_environment(cluster: Json, _user: Json, ways: Ways) -> dict[str, str]:
    cluster |= {"server": f"https://{NAME}:6443", "tls-server-name": "kubernetes.default.svc"}
    return {"HTTPS_PROXY": ways.proxy.url}


def name(cluster: Json, _user: Json, ways: Ways) -> dict[str, str]:
    cluster |= {"server": f"https://{ways.relay.address}", "tls-server-name": "kubernetes.default.svc"}
    return {}


def insecure(cluster: Json, _user: Json, ways: Ways) -> dict[str, str]:
    cluster |= {"server": f"https://{ways.relay.address}", "insecure-skip-tls-verify": True}
    cluster.pop("certificate-authority", None)
    return {}


def certificates_as_data(cluster: Json, user: Json, _ways: Ways) -> dict[str, str]:
    for holder, key in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")):
        if path := holder.pop(key, None):
            holder[f"{key}-data"] = base64.b64encode(Path(path).read_bytes()).decode()
    return {}


def token(api: Api, namespace: str) -> str:
    """Of an account that may do everything."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": BINDINGS.group, "kind": "ClusterRole", "name": "cluster-admin"}
    api.create(BINDINGS, None, {"metadata": {"name": namespace}, "subjects": [subject], "roleRef": role})
    return api.create_token(namespace, "default")


@pytest.mark.parametrize("change", [proxy_and_name, proxy_of_the_environment, name, insecure, certificates_as_data])
def test_events_come_the_way_that_our_requests_go(
    cluster: Cluster,
    api: Api,
    namespace: str,
    recorder: Recorder,
    ways: Ways,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    if change is not certificates_as_data:
        config["users"][0]["user"] = {"token": token(api, namespace)}
    environment = change(config["clusters"][0]["cluster"], config["users"][0]["user"], ways)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    operator = Operator(
        kubeconfig=kubeconfig,
        namespaces=[namespace],
        log=tmp_path / "operator.log",
        arguments=["--no-leader-elect"],
        environment=environment,
    )
    operator.start()
    try:
        operator.wait_ready()
        deploy(api, namespace, replicas=2)
        ready = lambda world: condition(world.scale_sets.get("web", {}), "Ready") == "True"  # noqa: E731
        recorder.wait_for(ready, timeout=SOON_SECONDS, message="the set is ready")
        assert "Request attempt" not in operator.log(), "kopf got through"
    finally:
        operator.stop()
    assert bool(ways.proxy.asked) == (change in {proxy_and_name, proxy_of_the_environment})
    assert "authorization" not in "\n".join(ways.proxy.asked).lower(), "our token is not the proxy's business"
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert "web" in Plugin(kubeconfig, namespace, tmp_path)("list").out


def test_the_plugin_is_whom_the_kubeconfig_wants_it_to_be(
    cluster: Cluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    """An administrator who impersonates somebody has that one's rights, and not his own."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] |= {"as": "nobody", "as-groups": ["scouts", "cooks"]}
    kubeconfig = tmp_path / "impersonating"
    kubeconfig.write_text(yaml.safe_dump(config))
    plugin = Plugin(kubeconfig, namespace, tmp_path)
    assert "nobody may not list" in plugin("list", code=1).error
    role = {"apiGroup": BINDINGS.group, "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": BINDINGS.group, "kind": "Group", "name": "cooks"}
    api.create(BINDINGS, None, {"metadata": {"name": namespace}, "subjects": [subject], "roleRef": role})
    until(lambda: plugin("list", code=None).code == 0, timeout=20, message="the group's rights are known")
