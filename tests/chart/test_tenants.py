"""Two teams, each with an operator of its own, installed as docs/tenants.md says."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chart.pages import play
from tests.chart.releases import Release, empty
from tests.cluster.harness.api import PODS, POLICIES, SCALE_SETS, Api, condition
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.trace import AuditLog

pytestmark = pytest.mark.timeout(300)

TEAMS = [Release(f"team-{name}", own=f"team-{name}-ops", serves=name) for name in ("shop", "bank")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of its own: the page brings the definitions."""
    with empty("tenants", tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def healthy(api: Api, team: Release) -> bool:
    return condition(api.get(SCALE_SETS, team.serves, "web"), "Ready") == "True"


def version(api: Api, team: Release) -> str:
    """The image version that the set's last rollout brought everywhere."""
    found = (api.get(SCALE_SETS, team.serves, "web").get("status") or {}).get("rollingUpgrade") or {}
    done = (found.get("runningStatus") or {}).get("code") == "Completed"
    return str((found.get("targetImageReference") or {}).get("exactVersion", "")) if done else ""


def test_each_operator_keeps_to_the_namespaces_of_its_team(cluster: Cluster, program: Path, tmp_path: Path):
    play("tenants.md", "One operator", program, cluster)
    play("tenants.md", "An operator for each team", program, cluster)
    api, audit = cluster.api, AuditLog(cluster.audit_log)
    with ExitStack() as stack:
        for team in TEAMS:
            process = Operator(
                kubeconfig=cluster.kubeconfig_of(team.own, team.account, tmp_path),
                namespaces=[],
                log=tmp_path / f"{team.name}.log",
                arguments=team.arguments(api),
            )
            stack.enter_context(process.at_work(timeout=90))
        for team in TEAMS:
            api.create(POLICIES, team.serves, upgrade_policy())
            publish(api, team.serves, "1.0.0", "fast")
            api.create(SCALE_SETS, team.serves, scale_set(replicas=3))
        until(lambda: all(healthy(api, team) for team in TEAMS), timeout=90, message="both sets are healthy")
        shop, bank = TEAMS
        before = {each["metadata"]["uid"] for each in api.list(PODS, bank.serves)}
        publish(api, shop.serves, "1.1.0", "fast")
        until(lambda: version(api, shop) == "1.1.0", timeout=90, message="the shop is upgraded")
        assert {each["metadata"]["uid"] for each in api.list(PODS, bank.serves)} == before
    for team in TEAMS:
        places = {each.namespace for each in audit.writes("") if each.user == team.user and each.took_effect}
        assert places == {team.own, team.serves}
