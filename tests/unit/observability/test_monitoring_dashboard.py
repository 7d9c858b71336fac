"""The Grafana dashboard keeps the rules of Grafana's dashboard linter, by the linter's names for them."""

import json
import re
from typing import Any

import pytest

from hack.monitoring.dashboard import dashboard
from scaleset.observability import catalogue

BOARD: dict[str, Any] = json.loads(dashboard())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
VARIABLES = {each["name"]: each for each in BOARD["templating"]["list"]}
UNITS = {"short", "none", "percentunit", "s", "dtdurations", "bytes", "ops", "reqps", "opm"}
SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")


def of(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_uneditable():
    assert BOARD["editable"] is False


def test_template_datasource():
    variable = VARIABLES["datasource"]
    assert (variable["type"], variable["query"], variable["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize("name", ["job", "instance", "namespace", "scaleset"])
def test_template_job_and_the_others(name):
    variable = VARIABLES[name]
    assert variable["type"] == "query"
    assert variable["datasource"]["uid"] == "${datasource}"
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["allValue"] == ".+"
    assert variable["refresh"] == 2, "reload when the time range changes"
    assert variable["label"].lower() == name


def test_rows():
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"] == [
        "Overview",
        "Fleet",
        "One rollout",
        "Operator",
    ]


def test_panels_have_numbers_and_places_of_their_own():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in BOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in BOARD["panels"])


@pytest.mark.parametrize("panel", PANELS, ids=of)
def test_panel_title_description_units_and_datasource(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title} {each['refId']}" for title, each in TARGETS])
def test_targets_name_the_job_and_metrics_that_exist(title, target):
    selectors = SELECTOR.findall(target["expr"])
    assert selectors
    names = {each.name for each in catalogue.CATALOGUE} | {"process_resident_memory_bytes"}
    for name, matchers in selectors:
        assert 'job=~"$job"' in matchers
        assert name.removesuffix("_bucket") in names


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title} {each['refId']}" for title, each in TARGETS])
def test_target_rate_interval_and_counters(title, target):
    assert set(re.findall(r"rate\([^[]*\[([^]]*)]", target["expr"])) <= {"$__rate_interval"}
    for name, _ in SELECTOR.findall(target["expr"]):
        if name.endswith(("_total", "_bucket")):
            assert re.search(rf"(?:rate|increase)\({name}\{{", target["expr"]), f"{name} is a counter"


def test_it_is_the_same_every_time():
    assert dashboard() == dashboard()
