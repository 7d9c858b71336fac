"""docs/start/objects.md, word for word, as somebody who has read nothing else would play it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.harness.api import SCALE_SETS, Api, Json, condition
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.plugin import kubectl
from tests.commands import printed

PAGE = (ROOT / "docs" / "start" / "objects.md").read_text()
TIMEOUT = 60.0

Shell = Callable[..., str]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shell(cluster: Cluster, namespace: str, tmp_path: Path) -> Shell:
    """Runs a line of the page in the repository; the namespace is that of the context."""
    config = tmp_path / "config"
    config.write_bytes(cluster.kubeconfig.read_bytes())
    path = os.pathsep.join([str(kubectl().parent), os.environ["PATH"]])
    environment = {**os.environ, "KUBECONFIG": str(config), "PATH": path}

    def run(line: str, given: str = "") -> str:
        return printed("/bin/bash", "-c", line, env=environment, given=given, timeout=TIMEOUT)

    run(f"kubectl config set-context --current --namespace={namespace}")
    return run


def test_the_page_word_for_word(operator, api: Api, namespace: str, shell: Shell):
    """The quickstart is healthy on its version; the published one rolls; the set of the page takes its place."""

    def seen(when: Callable[[Json], object], what: str) -> Json:
        found = api.wait(
            SCALE_SETS,
            namespace,
            "web",
            lambda each: each is not None and bool(each.get("status")) and when(each),
            timeout=TIMEOUT,
            message=what,
        )
        assert found is not None
        return found

    typed = [line.removeprefix("$ ").partition("#")[0].strip() for line in blocks("console")[0].splitlines()]
    crds, by_hand, quickstart = typed
    version, policy, fleet, own_policy = blocks("yaml")

    shell(crds)
    assert by_hand == "scaleset-operator"
    operator()
    shell(quickstart)
    shell("kubectl wait --for=condition=Ready sset/web --timeout=60s")
    assert shell("kubectl get sset web").splitlines()[1].split()[:6] == ["web", "5", "5", "5", "1.0.0", "1.0.0"]

    shell("kubectl apply -f -", version)
    seen(lambda each: each["status"].get("versions") == "1.0.0 (4), 1.1.0 (1)", "the first of five has the new version")

    shell("kubectl apply -f -", policy)
    shell("kubectl apply -f -", fleet)
    found = seen(lambda each: each["status"].get("healthyReplicas") == 10, "ten are healthy")
    assert condition(found, "Accepted") == "True"
    assert found["status"]["targetVersion"] == "1.1.0"
    upgrade = found["status"]["rollingUpgrade"]
    assert upgrade["policy"]["minReadyTime"] == "PT30S"
    assert upgrade["progress"]["failedInstanceCount"] == 0

    shell('kubectl patch sset web --type json -p \'[{"op": "remove", "path": "/spec/upgradePolicyRef"}]\'')
    shell("kubectl patch sset web --type merge --patch-file /dev/stdin", own_policy)
    found = seen(lambda each: each["status"]["observedGeneration"] == each["metadata"]["generation"], "its own policy")
    assert condition(found, "Accepted") == "True"
    assert found["spec"]["upgradePolicy"]["healthTimeout"] == "PT2M"
