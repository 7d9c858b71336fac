"""Records what the views of the plugin are tested on, from real rollouts on the embedded cluster, and the transcript
docs/cli.txt:

    python -m tests.unit.plugin.record            record everything anew (two minutes)
    python -m tests.unit.plugin.record --golden   only write the golden files anew, from what is recorded

Look at the difference before you commit it: a golden file says what a person sees.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS, Api
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.commands import ran
from tests.unit.plugin.golden import RECORDED, golden_files

Json = dict[str, Any]
TRANSCRIPT = ROOT / "docs" / "cli.txt"
BIN = Path(sys.executable).parent
TIMEOUT = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Records what the plugin's views are tested on.")
    parser.add_argument("--golden", action="store_true", help="only write the golden files anew")
    if not parser.parse_args().golden:
        with tempfile.TemporaryDirectory() as folder:
            record(Path(folder))
    for path, text in golden_files():
        path.write_text(text)
        tell(f"wrote {path.relative_to(ROOT)}")


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def record(folder: Path) -> None:
    with Cluster("cli-record", folder, start="3s") as cluster:
        cluster.make_namespace("shop")
        arguments = ["--leader-elect", "--leader-election-namespace", "shop"]
        operator = Operator(
            kubeconfig=cluster.kubeconfig, namespaces=[], log=folder / "operator.log", arguments=arguments
        )
        with operator.at_work():
            scenes(cluster.api)
            transcript(cluster)


def scenes(api: Api) -> None:
    """Objects at the moments that are worth showing."""
    api.apply(POLICIES, "shop", upgrade_policy())
    publish(api, "1.0.0", "fast")
    api.create(SCALE_SETS, "shop", scale_set("web", replicas=10))
    keep(api, "starting", lambda s, _: status(s).get("replicas", 0) > 0)
    keep(api, "healthy", lambda s, _: status(s).get("healthyReplicas") == 10 and ready(s) == "Healthy")
    publish(api, "1.1.0")
    keep(api, "rolling", lambda s, pods: batch(s) == 3 and starting_pods(s, pods) == 2)
    api.patch(SCALE_SETS, "shop", "web", {"spec": {"suspend": True}})
    keep(api, "suspended", lambda s, _: waiting(s) == "Suspended")
    api.patch(SCALE_SETS, "shop", "web", {"spec": {"suspend": False}})
    keep(api, "completed", lambda s, _: code(s) == "Completed" and ready(s) == "Healthy")
    publish(api, "1.2.0", "crash")
    keep(api, "failing", lambda s, pods: code(s) == "RollingForward" and restarts(pods) > 0)
    keep(api, "restoring", lambda s, _: waiting(s) == "Restoring")
    keep(api, "faulted", lambda s, _: code(s) == "Faulted" and ready(s) == "Faulted")
    api.create(SCALE_SETS, "shop", scale_set("wide", replicas=60, version="1.0.0"))
    api.create(SCALE_SETS, "shop", scale_set("lost", replicas=2, policy="missing"))
    keep(api, "wide", lambda s, _: status(s).get("healthyReplicas") == 60, of="wide")
    keep(api, "refused", lambda s, _: ready(s) == "PolicyNotFound", of="lost")
    write("sets", {"scaleSets": api.list(SCALE_SETS, "shop"), "now": round(time())})
    for name in ("wide", "lost", "web"):
        api.delete(SCALE_SETS, "shop", name)


def publish(api: Api, version: str, behaviour: str = "", *, namespace: str = "shop") -> None:
    api.create(IMAGES, namespace, image_version(version, behaviour=behaviour))


def keep(api: Api, name: str, when: Callable[[Json, list[Json]], object], *, of: str = "web") -> None:
    """Write the set and its pods down when it is first seen to be so."""
    deadline = monotonic() + TIMEOUT
    while True:
        found = api.get(SCALE_SETS, "shop", of)
        pods = api.list(PODS, "shop", selector=f"scaleset.dev/name={of}")
        if when(found, pods):
            break
        if monotonic() > deadline:
            raise SystemExit(f"{name} was not seen within {TIMEOUT:g} s: {json.dumps(status(found))}")
        sleep(0.05)
    write(name, {"scaleSet": found, "pods": pods, "now": round(time())})


def write(name: str, document: Json) -> None:
    for each in _objects(document):
        each["metadata"].pop("managedFields", None)
    path = RECORDED / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    tell(f"recorded {path.relative_to(ROOT)}")


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        if "metadata" in value:
            yield value
        else:
            for item in value.values():
                yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def status(found: Json) -> Json:
    return dict(found.get("status") or {})


def rollout(found: Json) -> Json:
    return dict(status(found).get("rollingUpgrade") or {})


def code(found: Json) -> str:
    return str((rollout(found).get("runningStatus") or {}).get("code"))


def batch(found: Json) -> int:
    return int((rollout(found).get("batch") or {}).get("number") or 0)


def waiting(found: Json) -> str:
    return str((rollout(found).get("waitingFor") or {}).get("reason"))


def ready(found: Json) -> str:
    return next((str(c["reason"]) for c in status(found).get("conditions") or () if c["type"] == "Ready"), "")


def starting_pods(found: Json, pods: list[Json]) -> int:
    """Pods of the target that run and are not ready yet."""
    target = rollout(found)["targetImageReference"]["exactVersion"]
    new = [each for each in pods if each["metadata"]["labels"]["scaleset.dev/image-version"] == target]
    return sum(each["status"].get("phase") == "Running" and not is_ready(each) for each in new)


def is_ready(pod: Json) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def restarts(pods: list[Json]) -> int:
    return sum(c.get("restartCount", 0) for each in pods for c in each["status"].get("containerStatuses") or ())


# --- the transcript

POLICY = """apiVersion: scaleset.dev/v1beta1
kind: UpgradePolicy
metadata: {name: careful}
spec:
  automaticOSUpgradePolicy: {enableAutomaticOSUpgrade: true}
  rollingUpgradePolicy: {maxBatchInstancePercent: 20}
  healthTimeout: PT10S                   # short, for this page; PT5M is the default
  minReadyTime: PT2S                     # short as well; PT30S is what the README has
"""
SET = """apiVersion: scaleset.dev/v1beta1
kind: ScaleSet
metadata: {name: web}
spec:
  replicas: 5
  imageReference: {publisher: example, offer: web, sku: stable, version: latest}
  upgradePolicyRef: {name: careful}
  template:
    spec:
      containers:
        - name: app                      # its image comes from the version
          readinessProbe: {httpGet: {path: /healthz, port: 8080}}
"""
DEFINITION = "--definition example/web/stable"
STEPS = (
    "kubectl scaleset check",
    f"kubectl scaleset publish example.com/web:1.0.0-fast {DEFINITION} --version 1.0.0 --yes",
    "kubectl apply -f web.yaml",
    "kubectl wait --for=condition=Ready sset/web --timeout=1m",
    f"kubectl scaleset publish example.com/web:1.1.0 {DEFINITION} --version 1.1.0 --yes --wait",
    "kubectl scaleset get web -w",
    "kubectl scaleset list",
    f"kubectl scaleset publish example.com/web:1.2.0-pullfail {DEFINITION} --version 1.2.0 --yes --wait",
    "kubectl scaleset status web --watch; echo exit code $?",
    "kubectl scaleset get web",
    "kubectl scaleset versions web",
    "kubectl scaleset plan web",
    "kubectl scaleset history web",
)


def transcript(cluster: Cluster) -> None:
    """What a new user types and sees, in a namespace of its own."""
    cluster.make_namespace("demo")
    with session(cluster) as (environment, folder):
        (folder / "web.yaml").write_text(f"{POLICY}---\n{SET}")
        told = [f"$ cat web.yaml\n{POLICY}---\n{SET}"]
        for step in STEPS:
            done = ran("/bin/bash", "-c", step, folder=folder, env=environment, timeout=TIMEOUT)
            told.append(f"$ {step}\n{done.stdout}")
            for version, number in (("1.1.0", 3), ("1.2.0", 1)):
                if "publish" in step and f"--version {version}" in step:
                    until_rolling(cluster.api, version, number)
    TRANSCRIPT.write_text("\n".join(told))
    tell(f"wrote {TRANSCRIPT.relative_to(ROOT)}")


def until_rolling(api: Api, version: str, number: int) -> None:
    def rolls(found: Json | None) -> bool:
        if found is None or rollout(found).get("targetImageReference", {}).get("exactVersion") != version:
            return False
        return batch(found) == number

    api.wait(SCALE_SETS, "demo", "web", rolls, timeout=30, message=f"batch {number} of the rollout to {version}")


@contextmanager
def session(cluster: Cluster) -> Iterator[tuple[dict[str, str], Path]]:
    """A shell's environment: plugin and kubectl on the PATH, the namespace as the context's."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.write_bytes(cluster.kubeconfig.read_bytes())
        build = subprocess.run([ROOT / "hack/cluster/build.sh"], capture_output=True, text=True, check=True)
        path = os.pathsep.join([str(BIN), build.stdout.strip(), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(config), "PYTHONIOENCODING": "utf-8"}
        subprocess.run(
            [Path(build.stdout.strip()) / "kubectl", "config", "set-context", "--current", "--namespace=demo"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield environment, Path(folder)


if __name__ == "__main__":
    main()
