"""What the chart renders for the Prometheus operator, and for Grafana."""

from typing import Any

import pytest
import yaml

from hack.chart import CHART
from tests.chart.helm import FOREIGN_KINDS, FULL, Helm, HelmError, Json, of_kind, the

FULL_VALUES: Json = yaml.safe_load(FULL.read_text())
RULES: Json = yaml.safe_load((CHART / "files" / "scaleset-rules.yaml").read_text())
ALERTS: dict[str, Json] = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
TUNED: dict[str, Json] = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["prometheusRule"]["alerts"]
HOME: str = yaml.safe_load((CHART / "Chart.yaml").read_text())["home"]


def alerts(helm: Helm, **values: Any) -> dict[str, Json]:
    """The alerts of a PrometheusRule with those values, by name."""
    found = the(helm.render({"metrics": {"prometheusRule": {"enabled": True, **values}}}), "PrometheusRule")
    return {rule["alert"]: rule for group in found["spec"]["groups"] for rule in group["rules"] if "alert" in rule}


def plain(expression: str) -> str:
    return expression.replace(" # threshold", "")


def test_without_changes_the_alerts_are_those_of_the_rules_file(helm: Helm):
    """So the defaults in values.yaml are those that the tests of rules hold."""
    found = alerts(helm)
    assert set(found) == set(ALERTS) == set(TUNED)
    for name, alert in found.items():
        assert alert["expr"] == plain(ALERTS[name]["expr"])
        assert alert["labels"] == ALERTS[name]["labels"]
        assert alert["for"] == ALERTS[name].get("for", "0s")
        assert ("threshold" in TUNED[name]) == ("# threshold" in ALERTS[name]["expr"])


@pytest.mark.parametrize("name", [name for name, each in TUNED.items() if "threshold" in each])
def test_a_threshold_is_set_in_the_expression(helm: Helm, name: str):
    number = TUNED[name]["threshold"]
    (tuned,) = [each for key, each in alerts(helm, alerts={name: {"threshold": 7000000}}).items() if key == name]
    assert tuned["expr"] == plain(ALERTS[name]["expr"].replace(f"{number} # threshold", "7000000"))
    assert "7000000" in tuned["expr"]


def test_severity_and_duration_of_one_alert_change_nothing_else(helm: Helm):
    before, after = alerts(helm), alerts(helm, alerts={"ScaleSetNoLeader": {"severity": "page", "for": "1h"}})
    changed = after.pop("ScaleSetNoLeader")
    assert changed == {**before.pop("ScaleSetNoLeader"), "for": "1h", "labels": {"severity": "page"}}
    assert after == before


def test_single_alerts_go_and_rules_come(helm: Helm):
    extra = {"alert": "Mine", "expr": "vector(1)"}
    found = alerts(helm, alerts={"ScaleSetImageOutdated": {"enabled": False}}, extraRules=[extra])
    assert set(found) == set(ALERTS) - {"ScaleSetImageOutdated"} | {"Mine"}
    assert found["Mine"] == extra
    off = {name: {"enabled": False} for name in ALERTS}
    groups = helm.render({"metrics": {"prometheusRule": {"enabled": True, "alerts": off}}})
    assert [group["name"] for group in the(groups, "PrometheusRule")["spec"]["groups"]] == ["scaleset.rules"]


def test_an_alert_that_does_not_exist_is_refused(helm: Helm):
    with pytest.raises(HelmError, match="'ScaleSetGone' not allowed"):
        alerts(helm, alerts={"ScaleSetGone": {"enabled": False}})
    with pytest.raises(HelmError, match="'threshold' not allowed"):
        alerts(helm, alerts={"ScaleSetNoLeader": {"threshold": 2}})


@pytest.mark.parametrize(
    ("given", "link"),
    [("https://wiki.example/scaleset/", "https://wiki.example/scaleset/{}.md"), ("", f"{HOME}/runbooks/{{}}.html")],
)
def test_alerts_link_to_a_whole_address(helm: Helm, given: str, link: str):
    for name, alert in alerts(helm, runbookURL=given).items():
        assert alert["annotations"]["runbook_url"] == link.format(name)


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_a_monitor_in_another_namespace_still_finds_the_operator(helm: Helm, kind: str):
    """The label namespace of a series stays that of its set."""
    values = {"enabled": True, "namespace": "monitoring", "jobLabel": "app", "annotations": {"a": "b"}}
    monitor = the(helm.render({"metrics": {kind[0].lower() + kind[1:]: values}}), kind)
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["annotations"] == {"a": "b"}
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["ops"]}
    assert monitor["spec"]["jobLabel"] == "app"
    (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


EVERYTHING: dict[str, Json] = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True, "grafanaOperator": {"enabled": True}},
}
FOREIGN = {"ServiceMonitor", "PrometheusRule", "GrafanaDashboard"}


def test_kinds_that_the_cluster_does_not_serve(helm: Helm):
    def kinds(mode: str, apis: tuple[str, ...] = ()) -> set[str]:
        found = helm.render({"metrics": {**EVERYTHING, "renderMode": mode}}, apis=apis)
        return {each["kind"] for each in found} & (FOREIGN | {"ConfigMap"})

    assert kinds("alwaysRender") == FOREIGN | {"ConfigMap"}
    assert kinds("skipIfMissing") == {"ConfigMap"}
    assert kinds("skipIfMissing", FOREIGN_KINDS) == FOREIGN | {"ConfigMap"}
    assert kinds("failIfMissing", FOREIGN_KINDS) == FOREIGN | {"ConfigMap"}
    with pytest.raises(
        HelmError, match=r"does not serve .*Install its CustomResourceDefinition, or set metrics.renderMode"
    ):
        kinds("failIfMissing")
    # A value that nobody uses asks for nothing.
    helm.render({"metrics": {"renderMode": "failIfMissing"}})


def test_rules_and_dashboards_are_taken_as_they_are(helm: Helm, chart):
    full = helm.render(FULL_VALUES, chart=chart, apis=FOREIGN_KINDS)
    first, *_ = the(full, "PrometheusRule")["spec"]["groups"]
    assert first["rules"][0]["annotations"]["summary"] == "{{ $labels.namespace }}/{{ $labels.name }} is down"
    dashboards = the(full, "ConfigMap", "sso-main-dashboards")
    assert dashboards["data"] == {"fleet.json": '{"title": "{{name}}"}'}
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "yes"


def test_grafana_operator_reads_the_configmap(helm: Helm):
    objects = helm.render({"metrics": {"dashboards": {**EVERYTHING["dashboards"], "namespace": "grafana"}}})
    config = the(objects, "ConfigMap")
    boards = of_kind(objects, "GrafanaDashboard")
    assert [each["spec"]["configMapRef"]["key"] for each in boards] == list(config["data"])
    for each in boards:
        assert each["metadata"]["namespace"] == config["metadata"]["namespace"] == "grafana"
        assert each["spec"]["configMapRef"]["name"] == config["metadata"]["name"]
        assert each["spec"]["instanceSelector"] == {"matchLabels": {"dashboards": "grafana"}}
