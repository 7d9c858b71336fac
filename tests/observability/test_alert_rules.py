"""The rules as promtool sees them. The cases are plain files for `promtool test rules`."""

import shutil
from pathlib import Path

import pytest
import yaml

from hack.monitoring.rules import SOURCE
from tests.commands import printed

PROMTOOL = shutil.which("promtool")
CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH; hack/observe/install.sh prometheus")


def promtool(*arguments: str | Path) -> str:
    return printed(str(PROMTOOL), *arguments)


def test_the_rules_are_valid():
    assert "10 rules found" in promtool("check", "rules", "--lint-fatal", SOURCE)


def test_the_example_of_a_configuration_is_valid(tmp_path):
    """But for its discovery, which Debian's Prometheus is built without."""
    settings = yaml.safe_load(SOURCE.with_name("prometheus.yaml").read_text())
    (scrape,) = settings["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    assert scrape["honor_labels"] is True
    scrape["static_configs"] = [{"targets": ["localhost:8080"]}]
    settings["rule_files"] = [str(SOURCE.with_name(name)) for name in settings["rule_files"]]
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert "SUCCESS" in promtool("check", "config", path)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_alert_fires_when_it_should_and_only_then(path):
    assert "SUCCESS" in promtool("test", "rules", path)
