"""Which Kubernetes KUBE chooses, and that docs/compatibility.md names those that are pinned."""

import os
import re
import subprocess

import pytest

from hack.chart import CHART, ROOT

CLUSTER = ROOT / "hack" / "cluster"
PINNED = {
    re.findall(r"^require k8s.io/kubernetes (\S+)$", path.read_text(), re.MULTILINE)[0]: path.parent.name
    for path in sorted(CLUSTER.glob("modules/kubernetes*/go.mod"))
}


def chosen(kube: str) -> subprocess.CompletedProcess[str]:
    script = f'set -euo pipefail; source {CLUSTER}/versions.sh; echo "$KUBE $KUBE_MINOR $(basename "$kube_modules")"'
    environment = {**os.environ, "KUBE": kube}
    return subprocess.run(["/bin/bash", "-c", script], check=False, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("version", PINNED)
def test_a_version_is_chosen_by_its_whole_number_or_its_minor(version: str):
    minor = version.split(".")[1]
    for asked in (version, f"v1.{minor}", f"v1.{minor}.x"):
        assert chosen(asked).stdout.split() == [version, minor, PINNED[version]]


def test_without_a_choice_it_is_that_of_today():
    assert PINNED[chosen("").stdout.split()[0]] == "kubernetes"


@pytest.mark.parametrize("asked", ["v1.29", "v1.3", "v1.32.0", "1.32", "newest"])
def test_what_is_not_pinned_is_refused_with_what_is(asked: str):
    done = chosen(asked)
    assert done.returncode == 2
    for version in PINNED:
        assert version in done.stderr


def test_the_page_names_what_is_pinned_and_the_chart_takes_no_older_one():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    named = set(re.findall(r"^\| (1\.\d+) \| yes", page, re.MULTILINE))
    assert named == {version.removeprefix("v").rpartition(".")[0] for version in PINNED}
    oldest = min(named, key=lambda each: int(each.split(".")[1]))
    assert f'kubeVersion: ">={oldest}.0-0"' in (CHART / "Chart.yaml").read_text()
