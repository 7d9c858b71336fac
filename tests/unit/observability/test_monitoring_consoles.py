"""The consoles as files: what they name exists, and what they say can be read. A real Prometheus renders them in
tests/cluster/test_prometheus.py.
"""

import re

import pytest

from hack.monitoring.rules import ROOT
from scaleset.observability import catalogue
from tests.unit.observability.test_monitoring_rules import unknown

CONSOLES = sorted((ROOT / "deploy" / "prometheus").glob("console*/*"))
LIBRARY = (ROOT / "deploy" / "prometheus" / "console_libraries" / "scaleset.lib").read_text()
COLOURS = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", LIBRARY))
ON_WHITE = [("card", state) for state in ("good", "busy", "wait", "bad", "gone", "soft")]
"""Badges and banners are white on these, links and numbers of these on white."""
ON_PAGE = [("ink", "page"), ("soft", "page"), ("busy", "page"), ("card", "ink"), ("ink", "card")]


@pytest.mark.parametrize("path", CONSOLES, ids=lambda path: path.name)
def test_consoles_use_metrics_that_exist(path):
    assert unknown(path.read_text()) == set()


def test_consoles_know_every_reason_and_state_by_name():
    assert [reason for reason in catalogue.BLOCKS if f'eq . "{reason}"' not in LIBRARY] == []
    assert [state for state in catalogue.STATES if f".{state} {{" not in LIBRARY] == []
    assert [status for status in catalogue.STATUSES if f".{status} {{" not in LIBRARY] == []


def test_consoles_ask_nobody_but_prometheus():
    """No style, script or picture from elsewhere: they work in a closed network and tell nobody what is looked at."""
    for path in CONSOLES:
        assert re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"')]*|<script", path.read_text()) == [], path.name


@pytest.mark.parametrize(("text", "ground"), ON_WHITE + ON_PAGE)
def test_text_has_a_contrast_of_wcag_aa(text, ground):
    assert contrast(COLOURS[text], COLOURS[ground]) >= 4.5


def test_no_colour_stands_outside_of_the_table_that_is_tested():
    style = LIBRARY.partition("<style>")[2].partition("</style>")[0]
    assert sorted(re.findall(r"#[0-9a-f]{3,6}\b", style)) == sorted(COLOURS.values())


@pytest.mark.parametrize(("a", "b", "expected"), [("#000000", "#ffffff", 21.0), ("#767676", "#ffffff", 4.54)])
def test_contrast(a, b, expected):
    assert contrast(a, b) == pytest.approx(expected, abs=0.005)


def contrast(a: str, b: str) -> float:
    """WCAG 2's ratio of two colours."""
    darker, lighter = sorted((luminance(a), luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
