"""The schema of the values, and what is generated from values.yaml and crds/."""

from pathlib import Path

import pytest
import yaml

from hack.chart import CHART, ROOT
from hack.chart.__main__ import generated
from hack.chart.crds import template
from hack.chart.readme import readme, table
from hack.chart.values import ValuesError, parse, read
from tests.chart.helm import Helm, HelmError, Json

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # A typo, at every depth.
        ({"replicas": 3}, "'replicas' not allowed"),
        ({"image": {"repo": "x"}}, "'repo' not allowed"),
        ({"metrics": {"serviceMonitor": {"enable": True}}}, "'enable' not allowed"),
        ({"networkPolicy": {"apiServer": {"port": 6443}}}, "'port' not allowed"),
        ({"replication": {"serviceAccount": {"annotation": {}}}}, "'annotation' not allowed"),
        ({"livenessProbe": {"httpGet": {"path": "/"}}}, "'httpGet' not allowed"),
        ({"imagePullSecrets": [{"secret": "x"}]}, "'secret' not allowed"),
        # Another type.
        ({"replicaCount": "2"}, "/replicaCount"),
        ({"replicaCount": 1.5}, "/replicaCount"),
        ({"crds": {"enabled": "yes"}}, "/crds/enabled"),
        ({"crds": True}, "/crds"),
        ({"imagePullSecrets": ["secret"]}, "/imagePullSecrets/0"),
        ({"watchNamespaces": "shop"}, "/watchNamespaces"),
        ({"extraArgs": [8]}, "/extraArgs/0"),
        ({"extraEnv": {"A": "b"}}, "/extraEnv"),
        ({"extraEnv": [{"value": "b"}]}, "'name'"),
        ({"podAnnotations": {"example.com/on": True}}, "/podAnnotations/example.com~1on"),
        ({"commonLabels": {"tier": 1}}, "/commonLabels/tier"),
        ({"nodeSelector": []}, "/nodeSelector"),
        ({"image": "scaleset-operator:1"}, "/image"),
        # Out of range.
        ({"replicaCount": -1}, "/replicaCount"),
        ({"replicaCount": 11}, "/replicaCount"),
        ({"metrics": {"port": 80}}, "/metrics/port"),
        ({"health": {"port": 70000}}, "/health/port"),
        ({"networkPolicy": {"apiServer": {"ports": []}}}, "/networkPolicy/apiServer/ports"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "/networkPolicy/apiServer/cidrs/0"),
        ({"readinessProbe": {"periodSeconds": 0}}, "/readinessProbe/periodSeconds"),
        ({"terminationGracePeriodSeconds": 5}, "/terminationGracePeriodSeconds"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "/podDisruptionBudget/maxUnavailable"),
        ({"kubeApi": {"qps": 0}}, "/kubeApi/qps"),
        ({"kubeApi": {"qps": -2}}, "/kubeApi/qps"),
        ({"kubeApi": {"burst": 0}}, "/kubeApi/burst"),
        # Not one of the words, or not of the form.
        ({"log": {"level": "trace"}}, "/log/level"),
        ({"log": {"format": "logfmt"}}, "/log/format"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"repository": ""}}, "/image/repository"),
        ({"image": {"tag": "1.0:2"}}, "/image/tag"),
        ({"image": {"digest": "0" * 64}}, "/image/digest"),
        ({"watchNamespaces": ["Shop"]}, "/watchNamespaces/0"),
        ({"watchNamespaces": ["shop", "shop"]}, "/watchNamespaces"),
        ({"fullnameOverride": "a" * 51}, "/fullnameOverride"),
        ({"nameOverride": "Scale_Set"}, "/nameOverride"),
        ({"metrics": {"podMonitor": {"interval": "30"}}}, "/metrics/podMonitor/interval"),
        ({"admissionPolicy": {"validationActions": ["Refuse"]}}, "/admissionPolicy/validationActions/0"),
        ({"admissionPolicy": {"validationActions": []}}, "/admissionPolicy/validationActions"),
        ({"admissionPolicy": {"validationActions": ["Deny", "Warn"]}}, "/admissionPolicy/validationActions"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "/topologySpreadConstraints/0"),
        ({"global": {"imageRegistry": "https://r.example"}}, "/global/imageRegistry"),
        ({"global": {"imagePullSecrets": [{"secret": "x"}]}}, "/global/imagePullSecrets/0"),
        ({"image": {"registry": "r example"}}, "/image/registry"),
        ({"dnsPolicy": "Mine"}, "/dnsPolicy"),
        ({"dnsConfig": {"servers": []}}, "'servers' not allowed"),
        ({"hostAliases": [{"ip": "10.0.0.1"}]}, "/hostAliases/0"),
        ({"podDisruptionBudget": {"minAvailable": "half"}}, "/podDisruptionBudget/minAvailable"),
        ({"metrics": {"renderMode": "sometimes"}}, "/metrics/renderMode"),
        # A bare `Off` is `false` in YAML.
        ({"verticalPodAutoscaler": {"updateMode": False}}, "/verticalPodAutoscaler/updateMode"),
        ({"verticalPodAutoscaler": {"updateMode": "Sometimes"}}, "/verticalPodAutoscaler/updateMode"),
        ({"verticalPodAutoscaler": {"renderMode": "sometimes"}}, "/verticalPodAutoscaler/renderMode"),
        ({"verticalPodAutoscaler": {"controlledResources": []}}, "/verticalPodAutoscaler/controlledResources"),
        ({"verticalPodAutoscaler": {"controlledResources": ["disk"]}}, "/verticalPodAutoscaler/controlledResources/0"),
        ({"verticalPodAutoscaler": {"controlledValues": "LimitsOnly"}}, "/verticalPodAutoscaler/controlledValues"),
        ({"verticalPodAutoscaler": {"minAllowed": {"memory": "128MB"}}}, "/verticalPodAutoscaler/minAllowed/memory"),
        ({"verticalPodAutoscaler": {"maxAllowed": {"disk": "1Gi"}}}, "'disk' not allowed"),
        ({"verticalPodAutoscaler": {"minReplicas": -1}}, "/verticalPodAutoscaler/minReplicas"),
        (
            {"verticalPodAutoscaler": {"recommenders": [{"name": "a"}, {"name": "b"}]}},
            "/verticalPodAutoscaler/recommenders",
        ),
        ({"metrics": {"service": {"type": "ExternalName"}}}, "/metrics/service/type"),
        ({"metrics": {"serviceMonitor": {"namespace": "Mine"}}}, "/metrics/serviceMonitor/namespace"),
        (
            {"metrics": {"prometheusRule": {"alerts": {"ScaleSetRolloutStuck": {"threshold": "1h"}}}}},
            "/metrics/prometheusRule/alerts/ScaleSetRolloutStuck/threshold",
        ),
    ],
    ids=str,
)
def test_the_schema_refuses(helm: Helm, values: Json, words: str):
    with pytest.raises(HelmError) as refusal:
        helm.text(values)
    told = str(refusal.value)
    assert "don't meet the specifications of the schema" in told
    assert words in told


@pytest.mark.parametrize(
    "values",
    [
        {"global": {"imageRegistry": "x", "storageClass": "a parent chart's"}},
        {"image": {"digest": DIGEST}},
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
        {"affinity": {"podAntiAffinity": {}}, "strategy": {"type": "Recreate"}},
        {"networkPolicy": {"apiServer": {"cidrs": ["fd00::1/128"]}}},
        {"replicaCount": 0},
        {"verticalPodAutoscaler": {"maxAllowed": {"cpu": 2, "memory": "1.5Gi"}, "minAllowed": {"cpu": "0.1"}}},
    ],
    ids=str,
)
def test_the_schema_lets_pass(helm: Helm, values: Json):
    helm.text(values)


def test_every_object_of_the_schema_is_closed():
    """But those that Kubernetes defines, maps of strings, and what a parent chart hands down."""
    open_ones = []

    def walk(node: Json, path: str) -> None:
        if node.get("type") == "object" and node.get("additionalProperties") is True:
            open_ones.append(path)
        elif node.get("properties"):
            assert node["additionalProperties"] is False, path
        for name, child in node.get("properties", {}).items():
            walk(child, f"{path}.{name}".lstrip("."))

    walk(yaml.safe_load((CHART / "values.schema.json").read_text()), "")
    assert open_ones == ["global", "strategy", "podSecurityContext", "securityContext", "resources", "affinity"]


def test_what_is_generated_is_current():
    stale = [str(path.relative_to(ROOT)) for path, text in generated() if path.read_text() != text]
    assert stale == [], "run `make chart`"


def test_the_table_has_every_value_with_its_default():
    source = """\
## One
# What a is.
# @schema {"minimum": 1}
a: 1

group:
  # A list
  # of b | c.
  b: [x]
## Two
# A map whose keys are data.
c:
  deep: {er: 1}
"""
    found = table(parse(source))
    assert found.splitlines() == [
        "",
        "### One",
        "",
        "| value | what it does | default |",
        "|---|---|---|",
        "| `a` | What a is. | `1` |",
        '| `group.b` | A list of b \\| c. | `["x"]` |',
        "",
        "### Two",
        "",
        "| value | what it does | default |",
        "|---|---|---|",
        '| `c` | A map whose keys are data. | `{"deep": {"er": 1}}` |',
    ]


def test_no_value_escapes_the_comments():
    """The reader of comments finds exactly the keys that a YAML parser finds."""

    def leaves(values: Json, documented: set[str], prefix: str = "") -> set[str]:
        found = set()
        for key, value in values.items():
            name = f"{prefix}{key}"
            found |= {name} if name in documented else leaves(value, documented, f"{name}.")
        return found

    documented = {leaf.name for value in read(CHART / "values.yaml") for leaf in value.leaves()}
    assert leaves(yaml.safe_load((CHART / "values.yaml").read_text()), documented) == documented


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("a: 1\n", "a in values.yaml has no comment"),
        ("# Grouped.\n\ngroup:\n  b: 1\n", "group.b in values.yaml has no comment"),
        ('# A.\n# @schema {"minimum": }{\na: 1\n', "line 3: a has no valid @schema"),
    ],
)
def test_a_value_without_documentation_is_refused(source, sentence):
    with pytest.raises(ValuesError, match=sentence):
        parse(source)


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="needs the lines"):
        readme("# Chart\n", [])


def test_crd_templates(helm: Helm, tmp_path: Path):
    crd = "# Generated.\napiVersion: v1\nkind: X\nmetadata:\n  name: x\nspec:\n  text: a {{ b }}\n"
    made = template(crd)
    assert "{{- if .Values.crds.enabled }}" in made
    assert "a {{ `{{` }} b {{ `}}` }}" in made
    with pytest.raises(ValueError, match="metadata beside its name"):
        template(crd.replace("  name: x\n", "  name: x\n  labels: {}\n"))
    with pytest.raises(ValueError, match="begins with its name"):
        template(crd.replace("  name: x\n", "  labels: {}\n"))
