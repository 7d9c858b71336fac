"""Records what an earlier version of the operator leaves in the API server:

    python -m tests.cluster.stored COMMIT [SITUATION ...]

It takes the operator and its CustomResourceDefinitions from that commit, plays every situation of `scenes` on the
embedded cluster, kills the operator there and keeps what is stored. The fixtures of a version are recorded once, by the
version after it; only a new situation is added later.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.harness import api as kube
from tests.cluster.harness.api import Api, Items, Json
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.scene import Scene
from tests.cluster.harness.trace import AuditLog
from tests.cluster.stored import objects, scenes

GIT = shutil.which("git") or "git"
AT_ONCE = 3
KINDS = (kube.POLICIES, kube.IMAGES, kube.SCALE_SETS, kube.REVISIONS, kube.CLAIMS, kube.PODS)


def main() -> None:
    every = {**scenes.AT_REST, **scenes.UNDER_WAY}
    parser = argparse.ArgumentParser(description="Records what an earlier version leaves in the API server.")
    parser.add_argument("commit", help="the version, as its folder in tests/cluster/stored is to be called")
    parser.add_argument("situation", nargs="*", help="which ones; all if none is named")
    asked = parser.parse_args()
    chosen = asked.situation or list(every)
    folder = objects.FOLDER / asked.commit
    with tempfile.TemporaryDirectory() as name, checkout(asked.commit, Path(name) / "tree") as tree:
        definitions = [_plain(yaml.safe_load(path.read_text())) for path in sorted((tree / "crds").glob("*.yaml"))]
        objects.write(folder / f"{objects.DEFINITIONS}.json", objects=definitions)
        with cluster_of(definitions, Path(name)) as cluster, ThreadPoolExecutor(AT_ONCE) as pool:
            scenes.label_nodes(cluster.api)
            for done in pool.map(lambda each: record(cluster, tree, each, every[each], folder), chosen):
                tell(done)


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def checkout(commit: str, tree: Path) -> Iterator[Path]:
    """The files of that commit."""
    subprocess.run([GIT, "worktree", "add", "--quiet", "--detach", tree, commit], check=True, cwd=ROOT)
    try:
        yield tree
    finally:
        subprocess.run([GIT, "worktree", "remove", "--force", tree], check=True, cwd=ROOT)


@contextmanager
def cluster_of(definitions: Items, folder: Path) -> Iterator[Cluster]:
    """A cluster with these definitions."""
    path = folder / "definitions.yaml"
    path.write_text(yaml.safe_dump_all(definitions))
    with Cluster(f"stored-{os.getpid()}", folder, crds=False) as cluster:
        cluster.api.apply_file(path)
        yield cluster


def record(cluster: Cluster, tree: Path, name: str, play: Any, folder: Path) -> str:
    """Plays one situation with an operator of its own and writes what is stored then."""
    namespace = cluster.make_namespace(objects.namespace(name))
    operator = Operator(
        kubeconfig=cluster.kubeconfig,
        namespaces=[namespace],
        log=tree.parent / f"{name}.log",
        arguments=["--no-leader-elect"],
        environment={"PYTHONPATH": str(tree / "operator" / "src")},
    )
    operator.start()
    try:
        operator.wait_ready(timeout=60)
        with Recorder(cluster.api, namespace, AuditLog(cluster.audit_log), shared=True) as recorder:
            play(Scene(cluster, namespace, recorder))
            operator.kill()
            now = datetime.now(UTC)
            found = stored(cluster.api, namespace)
    finally:
        operator.stop()
    objects.write(folder / f"{name}.json", objects=found, recorded=now.isoformat(timespec="seconds"))
    return f"{name}: {len(found)} objects"


def stored(api: Api, namespace: str) -> Items:
    """Everything that matters to the operator, as the API server keeps it."""
    found = [
        _bare(api.get(kind, namespace, each["metadata"]["name"]))
        for kind in KINDS
        for each in api.list(kind, namespace)
    ]
    volumes = [_bare(api.get(kube.VOLUMES, None, each["metadata"]["name"])) for each in api.list(kube.VOLUMES)]
    return found + [each for each in volumes if (each["spec"].get("claimRef") or {}).get("namespace") == namespace]


def _bare(body: Json) -> Json:
    """Without what etcd has beside the object, and without who wrote which field."""
    for key in ("managedFields", "resourceVersion"):
        body["metadata"].pop(key, None)
    return body


def _plain(value: Any) -> Any:
    """A definition without the texts that explain its fields: nothing goes by them."""
    if isinstance(value, dict):
        return {
            key: _plain(item) for key, item in value.items() if not (key == "description" and isinstance(item, str))
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
