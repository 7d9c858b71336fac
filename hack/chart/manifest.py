"""deploy/install.yaml and deploy/crds.yaml: the chart with its default values, for `kubectl apply` without Helm.

Two files, since `kubectl delete -f` takes everything in a file away: with the definitions go all sets and their pods.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hack.chart import ROOT

NAMESPACE = "scaleset-system"
_HEAD = f"""\
# The operator: the chart with its default values but without the CRDs, written by `make chart`. Install it with
#   kubectl apply --server-side -f crds.yaml -f install.yaml
# `kubectl delete -f install.yaml` takes the operator away and leaves every ScaleSet as it is, but for those in its own
# namespace: see docs/uninstall.md.
# The image is scaleset-operator with the version as its tag: have it where your nodes find it, or name yours.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/name: scaleset-operator
    pod-security.kubernetes.io/enforce: restricted
"""
_CRDS_HEAD = """\
# The custom resource definitions, written by `make chart`. Install them with
#   kubectl apply --server-side -f crds.yaml -f install.yaml
# Never `kubectl delete -f crds.yaml` while there are ScaleSets that you want to keep: all ScaleSets, UpgradePolicies
# and GalleryImageVersions of the cluster go with their definitions, and the pods with their ScaleSets.
"""


def definitions(crds: Iterable[str]) -> str:
    """All CRDs in one file."""
    bodies = (re.sub(r"\A#[^\n]*\n", "", text) for text in crds)
    return _CRDS_HEAD + "".join(body if body.startswith("---\n") else f"---\n{body}" for body in bodies)


def helm() -> Path:
    """The pinned helm, built when it is missing (a minute, once)."""
    build = ROOT / "hack" / "cluster" / "build.sh"
    done = subprocess.run(
        [build],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"WITH_HELM": "1"},
    )
    return Path(done.stdout.strip()) / "helm"


def manifest(program: Path, chart: Path) -> str:
    """All objects but the CRDs and the test. What only Helm cares for is left out."""
    command: list[str | Path] = [
        *(program, "template", "scaleset-operator", chart, "--namespace", NAMESPACE, "--skip-tests"),
        *("--set", "crds.enabled=false"),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    lines = done.stdout.splitlines(keepends=True)
    helms = re.compile(r"\s+(helm\.sh/chart: |app\.kubernetes\.io/managed-by: Helm$)|# Source: ")
    return _HEAD + "".join(line for line in lines if not helms.match(line))
