"""Accounts with real rights: the operator as its manifest installs it, and people who may do one thing only."""

from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster.harness.api import NAMESPACES, SERVICE_ACCOUNTS, Api, Json, Kind
from tests.cluster.harness.cluster import ROOT, Cluster

RBAC = "rbac.authorization.k8s.io"
ROLES = Kind("roles", RBAC)
ROLE_BINDINGS = Kind("rolebindings", RBAC)
CLUSTER_ROLES = Kind("clusterroles", RBAC, namespaced=False)
CLUSTER_ROLE_BINDINGS = Kind("clusterrolebindings", RBAC, namespaced=False)
KINDS = {
    "Namespace": NAMESPACES,
    "ServiceAccount": SERVICE_ACCOUNTS,
    "ClusterRole": CLUSTER_ROLES,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
    "Role": ROLES,
    "RoleBinding": ROLE_BINDINGS,
}
OPERATOR = ("scaleset-system", "scaleset-operator")


def operators_account(cluster: Cluster, directory: Path) -> Path:
    """A kubeconfig with the rights of deploy/install.yaml and no others."""
    for body in yaml.safe_load_all((ROOT / "deploy" / "install.yaml").read_text()):
        if body and body["kind"] in KINDS:
            cluster.api.apply(KINDS[body["kind"]], body["metadata"].get("namespace"), body)
    return cluster.kubeconfig_of(*OPERATOR, directory)


class Tenant(Api):
    """A client with the token of its kubeconfig: Api itself knows certificates only."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(kubeconfig)
        token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        self._pool = _Bearer(self._pool, token)


class _Bearer(urllib3.PoolManager):
    def __init__(self, pool: urllib3.PoolManager, token: str) -> None:
        super().__init__()
        self._inner, self._token = pool, token

    def request(  # type: ignore[override]
        self, method: str, url: str, *, headers: dict[str, str], **options: Any
    ) -> urllib3.BaseHTTPResponse:
        return self._inner.request(
            method, url, headers={**headers, "Authorization": f"Bearer {self._token}"}, **options
        )

    def clear(self) -> None:
        self._inner.clear()


def account(cluster: Cluster, namespace: str, name: str, directory: Path, rules: list[Json]) -> Api:
    """A client of somebody who may do that, in that namespace."""
    cluster.api.apply(
        SERVICE_ACCOUNTS, namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    )
    head = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name}}
    cluster.api.apply(ROLES, namespace, {**head, "kind": "Role", "rules": rules})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
    cluster.api.apply(
        ROLE_BINDINGS, namespace, {**head, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    )
    return Tenant(cluster.kubeconfig_of(namespace, name, directory))
