"""The releases that the cluster tests share, and who their operators are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chart.helm import Helm, Json, given
from tests.cluster.harness.api import Api, Kind
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.crds import finishing_deletions

DEPLOYMENTS = Kind("deployments", "apps")
PULL_SECRET = "pull-instances"  # noqa: S105 - the name of a secret, not one


@dataclass(frozen=True, slots=True)
class Release:
    """An installed chart: `serves` is a namespace that its operator serves, `own` that in which it lives."""

    name: str
    own: str
    serves: str

    @property
    def account(self) -> str:
        return f"{self.name}-scaleset-operator"

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.own}:{self.account}"

    @property
    def groups(self) -> list[str]:
        return ["system:serviceaccounts", f"system:serviceaccounts:{self.own}", "system:authenticated"]

    def arguments(self, api: Api) -> list[str]:
        """The command line that its Deployment gives the operator, for one that runs outside of the cluster."""
        deployment = api.get(DEPLOYMENTS, self.own, self.account)
        found: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        inside = ("--metrics-bind-address", "--health-bind-address")
        return [*(each for each in found if not each.startswith(inside)), f"--leader-election-namespace={self.own}"]


ALL = Release("all", own="scaleset-system", serves="fleet")
LISTED = Release("listed", own="team-ops", serves="shop")
LISTED_NAMESPACES = ["shop", "bank"]
VALUES: dict[Release, Json] = {
    ALL: {
        # The other operator writes where this one's policy holds, too.
        "admissionPolicy": {
            "enabled": True,
            "exemptUsers": ["restorer", LISTED.user],
            "exemptGroups": ["system:masters", "trusted"],
        },
        "replication": {"imagePullSecrets": [{"name": PULL_SECRET}]},
    },
    LISTED: {
        "watchNamespaces": LISTED_NAMESPACES,
        "admissionPolicy": {"enabled": True},
        "crds": {"enabled": False},
        "replication": {"imagePullSecrets": [{"name": PULL_SECRET}]},
    },
}
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@contextmanager
def empty(name: str, folder: Path) -> Iterator[Cluster]:
    """A cluster without our definitions, for tests that bring and remove them."""
    with (
        Cluster(f"{name}-{os.getpid()}", folder, nodes=3, crds=False) as cluster,
        finishing_deletions(cluster.api),
    ):
        yield cluster


def install(installer: Helm, release: Release, chart: Path) -> str:
    """`helm install --wait`; returns what it says."""
    with given(VALUES[release]) as options:
        where = ("--namespace", release.own, "--wait", "--timeout", "3m")
        return installer.run("install", release.name, chart, *where, *options)
