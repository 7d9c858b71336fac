"""What a run stands on: versions, machine, and what the peers need in the cluster."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from tests.cluster.harness.api import CRDS, Api, Kind, condition
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.fleet import until

from .contenders import BURST, CONTENDERS, QPS

MODULES = ROOT / "bench" / "modules"
WEBHOOKS = (
    (Kind("mutatingwebhookconfigurations", "admissionregistration.k8s.io", namespaced=False), "mutating"),
    (Kind("validatingwebhookconfigurations", "admissionregistration.k8s.io", namespaced=False), "validating"),
)


def about() -> dict[str, Any]:
    """Date, versions, machine and settings: printed with the results, and kept with them."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "machine": machine(),
        "raised": f"{QPS} requests a second, bursts of {BURST}",
        "settings": {each.title: each.settings for each in CONTENDERS},
    }


def versions() -> dict[str, str]:
    """Of everything that is measured, by name."""
    text = (ROOT / "hack" / "cluster" / "versions.sh").read_text()
    pinned = dict(re.findall(r"\b([A-Z]+)=(v?[\d.]+)", text))
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    ours = version("scaleset-operator")
    return {
        "scaleset-operator": " ".join(filter(None, (ours, commit.stdout.strip()))),
        "Kubernetes": pinned["KUBE"],
        "kwok": pinned["KWOK"],
        "etcd": pinned["ETCD"],
        "OpenKruise": required((MODULES / "kruise" / "go.mod").read_text(), "github.com/openkruise/kruise"),
        "Argo Rollouts": required(
            (MODULES / "argo-rollouts" / "go.mod").read_text(), "github.com/argoproj/argo-rollouts"
        ),
        "Python": platform.python_version(),
    }


def required(go_mod: str, module: str) -> str:
    """The version of a module that a go.mod requires. Raises ValueError when it requires none."""
    found = re.search(rf"^(?:require\s+|\s+){re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise ValueError(f"go.mod requires no {module}")
    return found[1]


def machine() -> str:
    """Processors and memory, in words."""
    info = Path("/proc/cpuinfo").read_text()
    models = re.findall(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    kib = int(re.findall(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[0])
    return f"{os.cpu_count()} processors ({models[0] if models else platform.machine()}), {kib / 2**20:.0f} GiB"


def fixed_work() -> float:
    """Seconds of a piece of work that is always the same and needs one processor and nothing else."""
    began = perf_counter()
    sum(number * number % 7 for number in range(8_000_000))
    return perf_counter() - began


def prepare(api: Api, peers: Path) -> None:
    """Installs what the peers need: their CRDs, and for OpenKruise its webhook configurations.

    kruise-manager waits for them and fills in a certificate that it makes itself. They stay empty: no request of any
    contender goes through a webhook, and what it would fill in, the objects say themselves.
    """
    paths = sorted(peers.glob("crds/*/*.yaml"))
    crds = [body for path in paths for body in yaml.safe_load_all(path.read_text()) if body]
    names = [api.apply(CRDS, None, body)["metadata"]["name"] for body in crds]
    for name in names:
        until(partial(_served, api, name), timeout=60, message=f"{name} is served")
    for kind, name in WEBHOOKS:
        body = {
            "apiVersion": f"{kind.group}/{kind.version}",
            "kind": f"{name.title()}WebhookConfiguration",
            "metadata": {"name": f"kruise-{name}-webhook-configuration"},
        }
        api.apply(kind, None, body)


def _served(api: Api, crd: str) -> bool:
    return condition(api.get(CRDS, None, crd), "Established") == "True"
