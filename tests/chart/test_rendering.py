"""What the chart renders, with its defaults and with every value changed."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hack.chart import CHART, ROOT
from hack.chart.values import Value, read
from tests.chart.helm import CONFIGURATIONS, FOREIGN_KINDS, FULL, Helm, HelmError, Json, of_kind, the

LEAVES = [
    leaf
    for value in read(CHART / "values.yaml")
    for leaf in value.leaves()
    if not leaf.name.endswith(".renderMode")  # shows where a kind is missing: test_monitoring.py, test_autoscaling.py
]
FULL_VALUES: Json = yaml.safe_load(FULL.read_text())
MAY_BE_MISSING = ("metrics", "verticalPodAutoscaler")
MONITORED_PODS = {"metrics": {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}}}
# What else has to be given so that the value shows.
BESIDE: dict[str, Json] = {
    "image.tag": {"image": {"digest": ""}},
    "image.registry": {"global": {"imageRegistry": ""}},
    "leaderElection.enabled": {"replicaCount": 1},
    "metrics.podMonitor.labels": MONITORED_PODS,
    "metrics.podMonitor.annotations": MONITORED_PODS,
    "metrics.podMonitor.namespace": MONITORED_PODS,
    "metrics.podMonitor.jobLabel": MONITORED_PODS,
    "metrics.podMonitor.interval": MONITORED_PODS,
    "metrics.podMonitor.scrapeTimeout": MONITORED_PODS,
    "metrics.podMonitor.relabelings": MONITORED_PODS,
    "metrics.podMonitor.metricRelabelings": MONITORED_PODS,
    "metrics.service.enabled": MONITORED_PODS,
    "nameOverride": {"fullnameOverride": ""},
    "podDisruptionBudget.maxUnavailable": {"podDisruptionBudget": {"minAvailable": ""}},
}
# Switches that the full values leave as they are by default, since the rest needs them.
OTHERWISE: dict[str, object] = {
    "crds.enabled": False,
    "hostNetwork": True,
    "leaderElection.enabled": False,
    "metrics.podMonitor.enabled": True,
    "metrics.service.enabled": False,
    "networkPolicy.enabled": False,
    "podDisruptionBudget.enabled": False,
    "rbac.aggregateClusterRoles": False,
    "rbac.publisherClusterRole": False,
    "rbac.create": False,
    "replication.enabled": False,
    "replication.serviceAccount.create": False,
    "serviceAccount.create": False,
}


def at(values: Json, path: tuple[str, ...]) -> object:
    found: object = values
    for part in path:
        assert isinstance(found, dict)
        found = found[part]
    return found


def with_value(values: Json, path: tuple[str, ...], value: object) -> Json:
    changed = copy.deepcopy(values)
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return changed


def merged(values: Json, changes: Json) -> Json:
    result = dict(values)
    for key, value in changes.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def pod_specs(objects: list[Json]) -> list[Json]:
    """Of the Deployment and of the test's pod."""
    return [the(objects, "Deployment")["spec"]["template"]["spec"], the(objects, "Pod")["spec"]]


@pytest.fixture(scope="module")
def default(helm: Helm) -> list[Json]:
    return helm.render()


@pytest.fixture(scope="module")
def full(helm: Helm, chart: Path) -> list[Json]:
    return helm.render(FULL_VALUES, chart=chart, apis=FOREIGN_KINDS)


@pytest.fixture(scope="module")
def rendered(helm: Helm, chart: Path) -> Callable[[Json], str]:
    """What values are rendered to; asks helm once for the same values."""
    known: dict[str, str] = {}

    def render(values: Json) -> str:
        key = json.dumps(values, sort_keys=True)
        if key not in known:
            known[key] = helm.text(values, chart=chart, apis=FOREIGN_KINDS)
        return known[key]

    return render


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.name)
def test_every_value_shows_in_what_is_rendered(rendered: Callable[[Json], str], leaf: Value):
    given = at(FULL_VALUES, leaf.path)
    if leaf.name in OTHERWISE:
        assert given == leaf.default
        given = OTHERWISE[leaf.name]
    assert given != leaf.default, f"full.yaml has the default of {leaf.name}"
    values = merged(FULL_VALUES, BESIDE.get(leaf.name, {}))
    if leaf.name == "metrics.podMonitor.enabled":
        values = with_value(values, ("metrics", "serviceMonitor", "enabled"), False)
    with_it, without = with_value(values, leaf.path, given), with_value(values, leaf.path, leaf.default)
    assert rendered(with_it) != rendered(without)


def test_helm_finds_no_fault(helm: Helm, chart: Path):
    """No warning, and nothing to recommend. What lint renders knows none of the kinds of others."""
    full = ("--values", FULL, "--set", ",".join(f"{group}.renderMode=skipIfMissing" for group in MAY_BE_MISSING))
    for values in (full, *(("--values", path) for path in CONFIGURATIONS.values())):
        said = helm.run("lint", "--strict", chart, *values)
        assert not re.findall(r"\[(?:INFO|WARNING|ERROR)\].*", said)


def test_a_team_of_one_namespace_has_no_right_beyond_it(helm: Helm):
    objects = helm.render(yaml.safe_load(CONFIGURATIONS["namespaced"].read_text()))
    assert {each["metadata"]["namespace"] for each in of_kind(objects, "Role")} == {"default", "ops"}
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ClusterRoleBinding")
    assert {each["kind"] for each in objects if "namespace" not in each["metadata"]} == {"CustomResourceDefinition"}


def test_the_chart_renders_without_being_told_of_a_kubernetes(helm: Helm):
    """The helm that is built here knows for which Kubernetes it is."""
    assert "kind: Deployment" in helm.run("template", "r", CHART)


def test_the_app_version_is_that_of_the_package():
    package = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    description = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert [description["appVersion"]] == package


def test_labels(full: list[Json]):
    """All objects carry the common labels, and what selects pods selects the operator's and not the test's."""
    for each in full:
        if each["metadata"]["name"].endswith(("-as-object", "-as-text")):
            continue
        labels = each["metadata"]["labels"]
        assert labels["team"] == "platform", each["metadata"]
        assert labels["app.kubernetes.io/name"] == "sso"
        assert labels["app.kubernetes.io/instance"] == "r"
    pod = the(full, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pod["example.com/cost"] == "platform"
    selectors = [
        the(full, "Deployment")["spec"]["selector"]["matchLabels"],
        the(full, "Service")["spec"]["selector"],
        the(full, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(full, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        the(full, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"][
            "matchLabels"
        ],
    ]
    for selector in selectors:
        assert selector.items() <= pod.items()
        assert not selector.items() <= the(full, "Pod")["metadata"]["labels"].items()
    service = the(full, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert service.items() <= the(full, "Service")["metadata"]["labels"].items()


def test_labels_of_ours_cannot_be_replaced(helm: Helm):
    """A pod label that replaced one of the selector would leave the Deployment without pods."""
    mine = {"app.kubernetes.io/component": "mine"}
    deployment = the(helm.render({"podLabels": mine, "commonLabels": mine}), "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"


@pytest.mark.parametrize("which", ["default", "full"])
def test_pods_pass_pod_security_restricted_and_are_bounded(which, request: pytest.FixtureRequest):
    for spec in pod_specs(request.getfixturevalue(which)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            for amounts in ("requests", "limits"):
                assert set(container["resources"][amounts]) == {"cpu", "memory"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_probes_ask_the_health_port(default: list[Json]):
    (container,) = the(default, "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": 8080, "health": 8081}
    assert {"--metrics-bind-address=:8080", "--health-bind-address=:8081"} <= set(container["args"])


def test_two_replicas_by_default_and_what_keeps_them_apart(default: list[Json], helm: Helm):
    spec = the(default, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert "--leader-elect" in spec["template"]["spec"]["containers"][0]["args"]
    keys = [each["topologyKey"] for each in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert the(default, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    alone = helm.render({"replicaCount": 1, "leaderElection": {"enabled": False}})
    assert not of_kind(alone, "PodDisruptionBudget")
    assert "topologySpreadConstraints" not in the(alone, "Deployment")["spec"]["template"]["spec"]
    assert "--no-leader-elect" in the(alone, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "leases" not in str(of_kind(alone, "Role"))


def test_crds_are_those_of_the_repository_and_kept(default: list[Json], full: list[Json], helm: Helm):
    wanted = {path.stem: yaml.safe_load(path.read_text())["spec"] for path in (ROOT / "crds").glob("*.yaml")}
    for objects, keep in ((default, {"helm.sh/resource-policy": "keep"}), (full, {"example.com/crd": "1"})):
        crds = of_kind(objects, "CustomResourceDefinition")
        assert {f"scaleset.dev_{each['spec']['names']['plural']}": each["spec"] for each in crds} == wanted
        assert [each["metadata"].get("annotations") for each in crds] == [keep] * 3
    assert not of_kind(helm.render({"crds": {"enabled": False}}), "CustomResourceDefinition")


def test_no_role_has_a_wildcard_or_reaches_secrets(default: list[Json], full: list[Json]):
    for role in [*of_kind(default, "ClusterRole"), *of_kind(full, "ClusterRole"), *of_kind(full, "Role")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]
            assert "secrets" not in rule["resources"]
            if "persistentvolumeclaims" in rule["resources"]:
                assert sorted(rule["verbs"]) == ["create", "get", "list", "watch"]


def test_listed_namespaces_need_a_role_in_each_and_only_nodes_of_the_cluster(full: list[Json]):
    roles = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in of_kind(full, "Role")}
    assert roles == {("shop", "sso-main"), ("bank", "sso-main"), ("ops", "sso-main-own")}
    bound = [each["roleRef"]["name"] for each in of_kind(full, "ClusterRoleBinding")]
    assert bound == ["sso-main-nodes"]
    (nodes,) = of_kind(full, "ClusterRole", "sso-main-nodes")
    assert nodes["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]
    args = the(full, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [each for each in args if each.startswith("--namespace")] == ["--namespace=shop", "--namespace=bank"]


def test_without_replication_nothing_is_asked_of_nodes(helm: Helm):
    objects = helm.render({"replication": {"enabled": False}, "watchNamespaces": ["shop"]})
    assert not of_kind(objects, "ClusterRoleBinding")
    assert "pods" not in str(the(objects, "Role", "r-scaleset-operator-own")["rules"])
    assert [each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")] == ["r-scaleset-operator"]


def test_names_stay_within_bounds(helm: Helm, chart: Path):
    """The longest release name that helm takes."""
    for name in ("", "n" * 63):
        values = merged(FULL_VALUES, {"nameOverride": name, "fullnameOverride": "", "extraObjects": []})
        for each in helm.render(values, chart=chart, release="r" * 53, apis=FOREIGN_KINDS):
            assert len(each["metadata"]["name"]) <= (253 if each["kind"] == "ClusterRole" else 63)
            assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"leaderElection": {"enabled": False}}, "two replicas must never write at the same time"),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "every sample would be scraped twice",
        ),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}},
            "metrics.serviceMonitor needs metrics.service.enabled",
        ),
    ],
)
def test_values_that_contradict_one_another_are_refused(helm: Helm, values, sentence):
    with pytest.raises(HelmError, match=sentence):
        helm.render(values)


def test_the_guards_of_versions_hold_where_the_release_serves(helm: Helm, default: list[Json]):
    """On by default; a release for some namespaces leaves the versions of others alone."""
    policies = [each for each in default if each["kind"].startswith("ValidatingAdmission")]
    assert [each["metadata"]["name"] for each in policies] == ["r-scaleset-operator-versions"] * 2
    binding = next(each for each in policies if each["kind"] == "ValidatingAdmissionPolicyBinding")
    assert "matchResources" not in binding["spec"]
    listed = helm.render({"watchNamespaces": ["shop"]})
    (selector,) = (
        each["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"]
        for each in listed
        if each["kind"] == "ValidatingAdmissionPolicyBinding"
    )
    assert "shop" in selector
    without = helm.render({"galleryGuards": {"enabled": False}})
    assert not any(each["kind"].startswith("ValidatingAdmission") for each in without)
