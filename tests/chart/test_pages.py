"""Values of the chart that pages show."""

import yaml

from tests.chart.helm import FOREIGN_KINDS, Helm, Json, the
from tests.console import ROOT, blocks


def test_the_values_of_the_page_about_monitoring(helm: Helm):
    """docs/howto/monitor.md: the chart takes them, and makes what the page promises."""
    page = (ROOT / "docs" / "howto" / "monitor.md").read_text(encoding="utf-8")
    values: Json = yaml.safe_load(next(block.content for block in blocks(page) if block.file == "monitoring.yaml"))
    objects = helm.render(values, apis=FOREIGN_KINDS)
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert the(objects, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert the(objects, "ConfigMap")["metadata"]["labels"]["grafana_dashboard"] == "1"
    allowed = [peer for rule in the(objects, "NetworkPolicy")["spec"]["ingress"] for peer in rule.get("from", ())]
    assert values["networkPolicy"]["metricsFrom"][0] in allowed
