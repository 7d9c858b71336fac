"""The plugin on a set that has its policy in itself."""

from tests.cluster.harness.api import SCALE_SETS, Api, Json
from tests.cluster.harness.fleet import publish
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.plugin import Plugin, wait_for_web


def completed(found: Json) -> bool:
    running = (found["status"].get("rollingUpgrade") or {}).get("runningStatus") or {}
    return running.get("code") == "Completed"


def test_plan_status_and_columns_know_it(plugin: Plugin, api: Api):
    own = {
        "mode": "Rolling",
        "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True},
        "rollingUpgradePolicy": {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50},
        "suspend": True,
    }
    publish(api, plugin.namespace, "1.0.0", "fast")
    api.create(SCALE_SETS, plugin.namespace, scale_set(replicas=4, policy=None, upgradePolicy=own))
    wait_for_web(api, plugin, lambda found: found["status"].get("healthyReplicas") == 4)
    assert api.columns(SCALE_SETS, plugin.namespace, "web")["POLICY"] == "Rolling"
    image = ("registry.example/os:1.1.0-fast", "--definition", "example/os/server", "--version", "1.1.0")
    assert "1 set follows it" in plugin("publish", *image, "--yes").out
    held = plugin("plan", "web").out
    assert "Held back: Suspended: The set's own policy suspends it" in held
    assert "batches of at most 50 %" in held
    assert "of its own" in plugin("get", "web").out
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"upgradePolicy": {"suspend": None}}})
    wait_for_web(api, plugin, completed)
    assert "Completed to version 1.1.0" in plugin("status", "web").out
