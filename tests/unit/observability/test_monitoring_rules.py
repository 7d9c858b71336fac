"""Rules, runbooks and tests of rules belong together: none without the others, and nothing names what does not exist.

What the rules mean is tested by promtool (tests/observability) and with a real Prometheus (tests/cluster).
"""

import re
from typing import Any

import pytest
import yaml

from hack.monitoring.__main__ import generated
from hack.monitoring.rules import ROOT, RUNBOOKS, prometheus_rule, rules
from scaleset.observability import catalogue

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule
}
CASES = ROOT / "tests" / "observability" / "alerts"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
OURS = re.compile(
    r"\b(?:scaleset|controller_runtime|workqueue|rest_client|leader_election)_[a-z0-9_]+(?=\{|\[|\)| |$|\")",
    re.MULTILINE,
)
NOT_METRICS = re.compile(r'\{\{ (?:define|template|end)[^}]*\}\}|template "scaleset_\w+"')


def exported() -> set[str]:
    names = set()
    for each in catalogue.CATALOGUE:
        names.add(each.name)
        if each.kind == "histogram":
            names.update(f"{each.name}_{part}" for part in ("bucket", "sum", "count"))
    return names


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def unknown(text: str) -> set[str]:
    return set(OURS.findall(NOT_METRICS.sub("", text))) - exported()


@pytest.mark.parametrize("path", sorted(generated()), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_committed(path):
    assert path.read_text() == generated()[path], "run `make monitoring` and commit what it writes"


def test_there_are_alerts():
    assert len(ALERTS) >= 9
    assert all(name.startswith("ScaleSet") for name in ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_what_and_where_to_read_on(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}/{name}.md"
    assert len(rule["annotations"]["summary"]) <= 120
    assert rule["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_runbook_with_commands(name):
    text = (ROOT / RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    found = sections(text)
    assert list(found) == SECTIONS
    assert all(len(body.split()) >= 15 for body in found.values())
    for section in ("Diagnosis", "Mitigation"):
        assert "```sh\n" in found[section], f"{section} has no command"


def test_no_runbook_is_left_over():
    found = {path.stem for path in (ROOT / RUNBOOKS).glob("*.md")} - {"README"}
    assert found == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_cases_that_fire_and_that_do_not(name):
    cases = yaml.safe_load((CASES / f"{name}.yaml").read_text())
    checks = [check for test in cases["tests"] for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks} == {name}
    assert any(check["exp_alerts"] for check in checks)
    silent = [test for test in cases["tests"] if not any(check["exp_alerts"] for check in test["alert_rule_test"])]
    assert silent, "every case fires at some time"


def test_the_prometheus_rule_has_the_same_groups():
    body = yaml.safe_load(prometheus_rule())
    assert (body["apiVersion"], body["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert body["spec"] == rules()


def test_rules_use_metrics_that_exist():
    text = "\n".join(str(rule["expr"]) for group in rules()["groups"] for rule in group["rules"])
    assert OURS.findall(text)
    assert unknown(text) == set()


@pytest.mark.parametrize("path", sorted((ROOT / RUNBOOKS).glob("*.md")), ids=lambda path: path.stem)
def test_runbooks_use_metrics_that_exist(path):
    assert unknown(path.read_text()) == set()
