"""Every verb of `kubectl scaleset` against a real rollout."""

import json
import re

import yaml

from tests.cluster.harness.api import EVENTS, IMAGES, PODS, SCALE_SETS, Api, Json, condition
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.plugin import Plugin, wait_for_web

DEFINITION = ("--definition", "example/os/server")
READY = 60.0


def rollout(found: Json) -> Json:
    return dict(found["status"].get("rollingUpgrade") or {})


def code(found: Json) -> str:
    return str((rollout(found).get("runningStatus") or {}).get("code"))


def test_from_publish_to_the_end_of_the_rollout(web, api):
    """What the README's five minutes do."""
    plugin = web()
    forecast = json.loads(plugin("plan", "web", "-o", "json").out)
    assert forecast["byHand"] == {**forecast["byHand"], "batches": [], "ending": "Completed"}

    published = plugin("publish", "example.com/os:1.1.0", *DEFINITION, "--version", "1.1.0", "--yes", "--wait")
    assert published.out.splitlines()[-1] == "example-os-server-1.1.0: published."
    wait_for_web(api, plugin, lambda found: code(found) == "RollingForward")
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"suspend": True}})
    wait_for_web(api, plugin, lambda found: (rollout(found).get("waitingFor") or {}).get("reason") == "Suspended")
    assert "web: RollingForward to version 1.1.0: " in plugin("status", "web", code=2).out
    tree = plugin("get", "web").out
    assert re.search(r"1\.0\.0 \(4\), 1\.1\.0 \(1\) → 1\.1\.0", tree), "what runs, and what it leads to"
    assert re.search(r"✔ upgraded in batch(es)? [\d-]+\n", tree)
    assert "◦ not begun" in tree
    listed = plugin("list").out.splitlines()
    assert listed[0].split()[:2] == ["NAME", "UPDATED"]
    assert "1.0.0 (4), 1.1.0 (1) → 1.1.0" in listed[1]
    assert "The set is suspended" in listed[1]

    watching = plugin.start("get", "web", "-w", "--timeout", "60s")
    assert watching.stdout is not None
    assert watching.stdout.readline().split() == ["Name:", "web"]
    plugin("resume", "web", "--yes")
    watched = watching.communicate(timeout=READY)[0]
    assert watching.returncode == 0
    assert "\x1b" not in watched
    assert "web: Completed to version 1.1.0: 5 upgraded." in watched
    done = plugin("status", "web", "--watch")
    assert done.out == plugin("status", "web").out == "web: Completed to version 1.1.0: 5 upgraded.\n"

    past = plugin("history", "web").out.splitlines()[1].split()
    assert past[2:9] == ["Image", "1.0.0", "→", "1.1.0", "Platform", "Completed", "5"]
    azure = json.loads(plugin("history", "web", "-o", "az-json").out)
    assert azure[0]["properties"]["progress"]["successfulInstanceCount"] == 5
    latest = json.loads(plugin("latest", "web", "-o", "az-json").out)
    assert latest["runningStatus"]["code"] == "Completed"
    assert "Completed" in plugin("latest", "web").out
    instances = plugin("instances", "web").out.splitlines()
    assert [line.split()[:3] for line in instances[1:]] == [[str(n), f"web-{n}", "1.1.0"] for n in range(5)]
    assert yaml.safe_load(plugin("get", "web", "-o", "yaml").out)["metadata"]["name"] == "web"
    assert plugin("list", "-o", "name").out == "scaleset.scaleset.dev/web\n"
    versions = plugin("versions", "web").out.splitlines()
    assert versions[1].split()[:2] == ["1.1.0", "yes"]
    assert "1.1.0 is higher" in versions[2]


def test_a_version_that_fails(web, api):
    plugin = web(healthTimeout="PT3S")
    plugin("publish", "example.com/os:1.1.0-pullfail", *DEFINITION, "--version", "1.1.0", "--yes")
    wait_for_web(api, plugin, lambda found: code(found) == "RollingForward")
    failed = plugin("status", "web", "--watch", "--timeout=60s", code=1)
    assert failed.out.splitlines()[-1].startswith("web: Faulted to version 1.1.0: 0 upgraded, 1 failed, 4 not touched.")
    assert "ImagePullBackOff" in failed.out
    wait_for_web(api, plugin, lambda found: condition(found, "Stalled") == "True")
    assert "ImagePullBackOff" in plugin("get", "web").out
    assert "web" in plugin("list", "--needs-attention").out
    assert "and is not tried again by itself" in plugin("versions", "web").out
    planned = plugin("plan", "web").out
    assert "Held back: TargetFailed" in planned
    assert "batch 5: instance 4" in planned
    wait_for_failures(api, plugin, 1)
    said = f"Version 1.1.0 failed in 1 ScaleSet: {plugin.namespace}/web at 20"
    assert said in plugin("plan", "web").out
    assert said in plugin("versions", "web").error
    assert said in plugin("versions").error
    history = json.loads(plugin("history", "web", "-o", "az-json").out)
    assert history[0]["properties"]["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    by_hand = plugin("start", "web", "--yes", "--wait", "--timeout", "60s", code=1)
    assert "Version 1.1.0 failed in web at 20" in by_hand.error
    assert "a start by hand does." in by_hand.error
    assert "requested" in by_hand.out
    assert "web: Faulted to version 1.1.0" in by_hand.out
    assert rollout(api.get(SCALE_SETS, plugin.namespace, "web"))["startedBy"] == "User"


def wait_for_failures(api: Api, plugin: Plugin, number: int) -> None:
    name = "example-os-server-1.1.0"
    until(
        lambda: (api.get(IMAGES, plugin.namespace, name).get("status") or {}).get("failedScaleSets") == number,
        timeout=READY,
        message="the version counts its failures",
    )


def test_a_start_that_would_be_refused_writes_nothing(web, api):
    plugin = web()
    there = api.get(SCALE_SETS, plugin.namespace, "web")
    assert "no unprotected instance runs less than version 1.0.0" in plugin("start", "web", "--yes", code=1).error
    assert (
        api.get(SCALE_SETS, plugin.namespace, "web")["metadata"]["resourceVersion"]
        == (there["metadata"]["resourceVersion"])
    )
    pinned = {"spec": {"imageReference": {**there["spec"]["imageReference"], "version": "01.0"}}}
    api.patch(SCALE_SETS, plugin.namespace, "web", pinned)
    wait_for_web(api, plugin, lambda found: found["status"]["observedGeneration"] >= found["metadata"]["generation"])
    assert "which have imageReference.version set to latest" in plugin("start", "web", "--yes", code=1).error
    assert "start-upgrade-at" not in str(api.get(SCALE_SETS, plugin.namespace, "web")["metadata"].get("annotations"))


def test_the_plan_is_what_then_happens(web, api):
    """The forecast, made while the set is suspended, names the very batches that the operator then takes."""
    plugin = web(rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40})
    assert plugin("suspend", "web", "--yes", "--wait", "--timeout", "30s").out.startswith("web: suspended\n")
    publish(api, plugin.namespace, "1.1.0", "fast")
    wait_for_web(api, plugin, lambda found: found["status"].get("latestVersion") == "1.1.0")
    until(lambda: "Suspended" in plugin("status", "web", code=2).out, timeout=READY, message="it waits suspended")
    forecast = json.loads(plugin("plan", "web", "-o", "json").out)
    assert forecast["heldBack"]["reason"] == "Suspended"
    batches = [batch["instances"] for batch in forecast["freed"]["batches"]]
    assert batches == ["0-1", "2-3", "4"]
    resumed = plugin("resume", "web", "--yes", "--wait", "--timeout", "60s")
    assert resumed.out.endswith("web: Completed to version 1.1.0: 5 upgraded.\n")
    events = api.list(EVENTS, plugin.namespace)
    notes = sorted(str(each["note"]) for each in events if each["reason"] == "BatchStarted")
    assert [re.search(r"instances (\S+)\.$", note).group(1) for note in notes] == batches  # type: ignore[union-attr]


def test_cancel_and_what_is_remembered(web, api):
    plugin = web()
    assert plugin("cancel", "web", "--yes").out == "web: no rolling upgrade is running, nothing to cancel.\n"
    publish(api, plugin.namespace, "1.1.0")
    wait_for_web(api, plugin, lambda found: code(found) == "RollingForward")
    cancelled = plugin("cancel", "web", "--yes", "--wait", "--timeout", "60s")
    assert "Cancelled by the user." in cancelled.out
    assert plugin("status", "web", code=1).out.startswith("web: Cancelled to version 1.1.0")


def test_start_by_hand_where_nothing_starts_by_itself(web, api):
    plugin = web(automatic=False)
    publish(api, plugin.namespace, "1.1.0", "fast")
    wait_for_web(api, plugin, lambda found: found["status"].get("latestVersion") == "1.1.0")
    planned = plugin("plan", "web").out
    assert "no rollout starts by itself now" in planned
    assert "kubectl scaleset start web" in planned
    tried = plugin("start", "web", "--dry-run=server")
    assert tried.out == "web: rolling upgrade to version 1.1.0 requested (server dry run)\n"
    assert not rollout(api.get(SCALE_SETS, plugin.namespace, "web"))
    started = plugin("start", "web", "--yes", "--wait", "--timeout", "60s")
    assert started.out.endswith("web: Completed to version 1.1.0: 5 upgraded.\n")


def test_protect_and_apply_the_model(web, api):
    plugin = web(automatic=False)
    assert plugin("protect", "web", "3,1", "--yes", "--wait").out.startswith(
        "web: instances 1,3 protected from all actions of the platform\n"
    )
    again = "web: instance 1 protected from all actions of the platform already.\n"
    assert plugin("protect", "web", "1", "--yes").out == again
    assert "5-2 is no range: write it as 2-5." in plugin("protect", "web", "5-2", "--yes", code=1).error
    assert "all actions" in plugin("instances", "web").out
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"template": {"metadata": {"labels": {"new": "yes"}}}}})
    wait_for_web(api, plugin, lambda found: found["status"]["observedGeneration"] >= found["metadata"]["generation"])
    before = pods(api, plugin)
    applied = plugin("apply-model", "web", "0", "1", "--yes", "--wait", "--timeout", "60s")
    assert applied.out.startswith("web: newest model requested for instances 0-1\n")
    version = api.get(SCALE_SETS, plugin.namespace, "web")["metadata"]["resourceVersion"]
    again = plugin("apply-model", "web", "0", "1", "--wait", "--timeout", "60s")
    nothing = "web: nothing to be done: the instances have the newest model already, or are protected (1).\n"
    assert again.out.startswith(nothing)
    assert api.get(SCALE_SETS, plugin.namespace, "web")["metadata"]["resourceVersion"] == version, "nothing is written"
    after = pods(api, plugin)
    assert {name for name in after if after[name] != before[name]} == {"web-0"}
    assert plugin("unprotect", "web", "1", "3", "--yes", "--wait").code == 0
    assert api.get(SCALE_SETS, plugin.namespace, "web")["spec"].get("protectedInstances") == []
    plugin("apply-model", "web", "--all", "--yes", "--wait", "--timeout", "60s")
    now = pods(api, plugin)
    assert {name for name in now if now[name] != after[name]} == {f"web-{n}" for n in range(1, 5)}
    assert plugin("apply-model", "web", "--all").out.endswith("the instances have the newest model already.\n")
    # The same request, of a newer model, is a new one.
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"template": {"metadata": {"labels": {"new": "er"}}}}})
    plugin("apply-model", "web", "0", "1", "--yes", "--wait", "--timeout", "60s")
    newest = pods(api, plugin)
    assert {name for name in newest if newest[name] != now[name]} == {"web-0", "web-1"}


def test_chosen_instances_are_removed_and_the_set_gets_smaller(web, api):
    plugin = web(automatic=False)
    plugin("protect", "web", "4", "--scale-in-only", "--yes")
    refused = plugin("delete-instances", "web", "1", "4", "--yes", code=1).error
    assert "scaling in passes over protected instances, and 4 is protected" in refused
    assert "web has no instance 7" in plugin("delete-instances", "web", "7", "--yes", code=1).error
    tried = plugin("delete-instances", "web", "1", "3", "--dry-run=server")
    assert tried.out == "web: instances 1,3 will be removed, replicas: 3 (server dry run)\n"
    done = plugin("delete-instances", "web", "3", "1", "--yes", "--wait", "--timeout", "60s")
    assert done.out.startswith("web: instances 1,3 will be removed, replicas: 3\n")
    assert done.out.endswith("web: the instances are gone.\n")
    assert sorted(pods(api, plugin)) == ["web-0", "web-2", "web-4"]
    spec = api.get(SCALE_SETS, plugin.namespace, "web")["spec"]
    assert (spec["replicas"], spec["scaleInPolicy"]["preferredInstances"]) == (3, [1, 3])


def test_a_verb_with_nothing_to_do_says_so_and_writes_nothing(web, api):
    plugin = web(automatic=False)
    before = api.get(SCALE_SETS, plugin.namespace, "web")["metadata"]["resourceVersion"]
    assert plugin("cancel", "web").out == "web: no rolling upgrade is running, nothing to cancel.\n"
    assert plugin("resume", "web").out == "web: not suspended, nothing to resume.\n"
    assert plugin("apply-model", "web", "2").out.startswith("web: nothing to be done")
    assert api.get(SCALE_SETS, plugin.namespace, "web")["metadata"]["resourceVersion"] == before
    plugin("suspend", "web", "--yes", "--wait", "--timeout", "30s")
    assert plugin("suspend", "web").out == "web: suspended already.\n"


def pods(api: Api, plugin: Plugin) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.list(PODS, plugin.namespace)}


def test_published_versions_say_what_they_are_for(plugin, api):
    plugin("publish", "example.com/os:2.0.0", *DEFINITION, "--version", "2.0.0", "--regions", "west,east", "--yes")
    plugin("publish", "example.com/os:3.0.0", *DEFINITION, "--version", "3.0.0", "--exclude-from-latest", "--yes")
    specs = {each["spec"]["version"]: each["spec"] for each in api.list(IMAGES, plugin.namespace)}
    assert [each["name"] for each in specs["2.0.0"]["publishingProfile"]["targetRegions"]] == ["west", "east"]
    assert specs["3.0.0"]["publishingProfile"]["excludeFromLatest"] is True
    again = plugin("publish", "example.com/os:x", *DEFINITION, "--version", "3.0.0", "--yes", code=1)
    assert "give this image the next version" in again.error
    api.create(SCALE_SETS, plugin.namespace, scale_set("web", replicas=1, policy=None))
    versions = plugin("versions", "web").out
    assert "it is excluded from latest" in versions
    assert "it is not replicated to region default" in versions
