"""The verbs that go back, repeat, withdraw and halt, against real rollouts."""

import json
import re
from collections.abc import Callable

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS, Api, Json
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.plugin import Plugin, wait_for_web

DEFINITION = "example/os/server"
READY = 90.0
DONE = ("--yes", "--wait", "--timeout", "90s")


def ended(version: str) -> Callable[[Json], bool]:
    def when(found: Json) -> bool:
        rollout = found["status"].get("rollingUpgrade") or {}
        code = (rollout.get("runningStatus") or {}).get("code")
        return code == "Completed" and found["status"].get("versions") == version

    return when


def spec(api: Api, plugin: Plugin) -> Json:
    return dict(api.get(SCALE_SETS, plugin.namespace, "web")["spec"])


def uids(api: Api, plugin: Plugin) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.list(PODS, plugin.namespace)}


def excluded(api: Api, plugin: Plugin, version: str) -> bool:
    (found,) = (raw for raw in api.list(IMAGES, plugin.namespace) if raw["spec"]["version"] == version)
    return bool((found["spec"].get("publishingProfile") or {}).get("excludeFromLatest"))


def test_rollback_pins_the_version_before_and_unpin_does_not_bring_the_other_back(web, api):
    plugin = web()
    assert "has no published version below 1.0.0" in plugin("rollback", "web", "--yes", code=1).error
    publish(api, plugin.namespace, "1.1.0", "fast")
    wait_for_web(api, plugin, ended("1.1.0"))
    tried = plugin("rollback", "web", "--dry-run", "server")
    assert tried.out.startswith("web: rollback to 1.0.0 requested")
    assert "(server dry run)" in tried.out
    assert spec(api, plugin)["imageReference"]["version"] == "latest"
    back = plugin("rollback", "web", "--exclude", *DONE)
    assert back.out.splitlines()[-1].startswith("web: Completed to version 1.0.0: 5 upgraded.")
    assert spec(api, plugin)["imageReference"]["version"] == "1.0.0"
    assert excluded(api, plugin, "1.1.0")
    assert "which is not above 1.1.0" in plugin("rollback", "web", "--to", "1.1.0", "--yes", code=1).error
    assert "example/os/server 1.1.0: included in latest" in plugin("include", DEFINITION, "1.1", "--yes").out
    unpinned = plugin("unpin", "web", "--yes")
    assert "Warning: latest means 1.1.0, which was rolled back here." in unpinned.error
    assert spec(api, plugin)["imageReference"]["version"] == "latest"
    wait_for_web(api, plugin, lambda found: found["status"]["observedGeneration"] >= found["metadata"]["generation"])
    assert api.get(SCALE_SETS, plugin.namespace, "web")["status"]["versions"] == "1.0.0"
    past = [line.split() for line in plugin("history", "web").out.splitlines()]
    assert past[0][:6] == ["STARTED", "TOOK", "KIND", "FROM", "→", "TO"]
    assert [row[2:6] for row in past[1:3]] == [["Model", "1.1.0", "→", "1.0.0"], ["Image", "1.0.0", "→", "1.1.0"]]
    retried = plugin("retry", "web", *DONE)
    assert "web: retry requested: the failure of 1.1.0 is forgotten" in retried.out
    wait_for_web(api, plugin, ended("1.1.0"))
    assert plugin("retry", "web").out.startswith("web: nothing failed here, nothing to retry.\n")


def test_rollback_during_a_bad_upgrade_needs_no_cancel(web, api):
    plugin = web(healthTimeout="PT10S")
    publish(api, plugin.namespace, "1.1.0", "bad")
    wait_for_web(api, plugin, lambda found: (found["status"].get("rollingUpgrade") or {}).get("inProgress"))
    back = plugin("rollback", "web", "--yes")
    assert back.out.startswith("web: rollback to 1.0.0 requested, pinned until kubectl scaleset unpin web")
    wait_for_web(api, plugin, lambda found: found["status"].get("versions") == "1.0.0" and ended("1.0.0")(found))
    failed = api.get(SCALE_SETS, plugin.namespace, "web")["status"]["failedTargets"]
    assert [row["version"] for row in failed] == ["1.1.0"], "its batch had to end first, and failed by itself"
    stays = plugin("unpin", "web", "--yes").error
    assert "Warning: latest means 1.1.0, which " in stays


def test_pin_goes_to_a_version_and_unpin_to_the_latest(web, api):
    plugin = web(automatic=False)
    publish(api, plugin.namespace, "1.1.0", "fast")
    publish(api, plugin.namespace, "1.2.0", "fast")
    wait_for_web(api, plugin, lambda found: found["status"].get("latestVersion") == "1.2.0")
    unknown = plugin("pin", "web", "1.1.1", "--yes", code=1).error
    assert unknown == 'Error: Version 1.1.1 is not published for web. Did you mean "1.1.0"?\n'
    pinned = plugin("pin", "web", "1.1", *DONE)
    assert pinned.out.startswith("web: pinned to 1.1.0\n")
    assert pinned.out.splitlines()[-1].startswith("web: Completed to version 1.1.0: 5 upgraded.")
    assert plugin("pin", "web", "01.1.0").out.startswith("web: pinned to 1.1.0 already.")
    unpinned = plugin("unpin", "web", *DONE)
    assert unpinned.out.startswith("web: follows latest, which is 1.2.0 now\n")
    assert unpinned.out.splitlines()[-1].startswith("web: Completed to version 1.2.0: 5 upgraded.")
    assert plugin("unpin", "web").out.startswith("web: follows latest already.")


def test_restart_makes_every_instance_again_with_what_it_runs(web, api):
    plugin = web(rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40})
    before = uids(api, plugin)
    done = plugin("restart", "web", *DONE)
    assert done.out.startswith("web: restart of 5 instances requested\n")
    assert done.out.splitlines()[-1] == "web: Completed restarting: 5 upgraded."
    after = uids(api, plugin)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert plugin("history", "web").out.splitlines()[1].split()[2] == "Restart"
    plugin("suspend", "web", "--yes", "--wait")
    refused = plugin("restart", "web", "--yes", code=1).error
    assert "The set is suspended" in refused
    assert uids(api, plugin) == after


def test_undo_brings_the_template_before_back(web, api):
    plugin = web(automatic=False)
    first = spec(api, plugin)["template"]
    assert "has no earlier model" in plugin("undo", "web", "--yes", code=1).error
    labels = {"metadata": {"labels": {"new": "label"}}, "spec": {"terminationGracePeriodSeconds": 7}}
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"template": labels}})
    until(lambda: len(plugin("history", "web", "--models").out.splitlines()) == 3, timeout=READY, message="two models")
    models = [line.split() for line in plugin("history", "web", "--models").out.splitlines()]
    assert models[0][:3] == ["REVISION", "MODEL", "CURRENT"]
    assert models[1][0] == "2"
    assert models[1][2] == "yes"
    assert "template.metadata.labels" in " ".join(models[1])
    done = plugin("undo", "web", *DONE)
    assert done.out.startswith("web: back to the template of revision 1\n")
    assert spec(api, plugin)["template"] == first
    assert "the spec has the template of revision" in plugin("undo", "web", "--to-revision", current(plugin)).out
    assert "has no revision 99" in plugin("undo", "web", "--to-revision", "99", "--yes", code=1).error


def current(plugin: Plugin) -> str:
    stored = json.loads(plugin("history", "web", "--models", "-o", "json").out)
    return str(next(each["revision"] for each in stored if each["current"]))


def test_publish_says_who_follows_and_exclude_withdraws(web, api):
    plugin = web()
    api.create(SCALE_SETS, plugin.namespace, scale_set("still", replicas=1, policy=None))
    arguments = ("--definition", DEFINITION, "--version")
    said = plugin("publish", "example.com/os:1.1.0", *arguments, "1.1.0", "--yes", "--dry-run", "server")
    space = plugin.namespace
    assert f"2 sets follow it, 1 starts by itself: {space}/still, {space}/web." in said.out
    nobody = plugin("publish", "example.com/os:1", "--definition", "example/os/servre", "--version", "1", "--yes")
    assert "Warning: No set follows the latest version of example/os/servre." in nobody.error
    plugin("suspend", "web", "--yes")
    plugin("publish", "example.com/os:1.1.0", *arguments, "1.1.0", "--yes")
    duplicate = plugin("publish", "example.com/os:1.1.0", *arguments, "1.1", "--yes", code=1).error
    assert "GalleryImageVersion example-os-server-1.1.0 exists" in duplicate
    assert plugin("exclude", DEFINITION, "1.1", "--yes").out == "example/os/server 1.1.0: excluded from latest\n"
    assert excluded(api, plugin, "1.1.0")
    assert plugin("exclude", DEFINITION, "1.1.0").out == "example/os/server 1.1.0: excluded from latest already.\n"
    assert 'Did you mean "1.1.0"' in plugin("exclude", DEFINITION, "1.1.9", "--yes", code=1).error
    wrong = plugin("exclude", "example/os/servr", "1.1.0", "--yes", code=1).error
    assert "has no version in namespace" in wrong
    assert 'Did you mean "example/os/serv' in wrong
    plugin("include", DEFINITION, "1.1.0", "--yes")
    assert not excluded(api, plugin, "1.1.0")


def test_a_version_is_read_from_the_tag(plugin, api):
    command = ("publish", "--definition", DEFINITION, "--yes", "--version-from-tag")
    debian = r"([0-9]+)\.([0-9]+)\.([0-9]+)-debian-[0-9]+-r([0-9]+)"
    digest = "sha256:" + "ab" * 32
    for tag, pattern in (("17", "([0-9]+)"), (f"4.0.0-debian-12-r11@{digest}", debian), ("20241017", "([0-9]+)")):
        plugin(*command, pattern, f"example.com/os:{tag}")
    found = {raw["spec"]["version"]: raw["spec"]["image"] for raw in api.list(IMAGES, plugin.namespace)}
    assert found == {
        "17": "example.com/os:17",
        "4.0.0.11": f"example.com/os:4.0.0-debian-12-r11@{digest}",
        "20241017": "example.com/os:20241017",
    }
    refused = plugin(*command, debian, "example.com/os:4.0.1", code=1).error
    assert refused.startswith("Error: Tag 4.0.1 of example.com/os:4.0.1 does not match --version-from-tag")
    duplicate = plugin(*command, "v(?P<major>[0-9]+)", "example.com/os:v17", code=1).error
    assert "GalleryImageVersion example-os-server-17 exists" in duplicate


def test_all_sets_are_suspended_by_namespace_and_by_policy(web, api):
    plugin = web()
    api.create(SCALE_SETS, plugin.namespace, scale_set("other", replicas=1, policy=None))
    assert "Name a ScaleSet, or give --all or --policy" in plugin("suspend", code=1).error
    assert "Suspend 2 sets (other, web)?" in plugin("suspend", "--all", code=1).error
    plugin("suspend", "--all", "--yes", "--wait", "--timeout", "60s")
    assert [raw["spec"].get("suspend") for raw in api.list(SCALE_SETS, plugin.namespace)] == [True, True]
    assert plugin("pause", "--all").out.startswith("Nothing to suspend: no set in namespace")
    assert set(plugin("resume", "--all", "--yes").out.splitlines()) == {"other: resumed", "web: resumed"}
    policy = spec(api, plugin)["upgradePolicyRef"]["name"]
    assert f'Did you mean "{policy}"' in plugin("suspend", "--policy", f"{policy}x", "--yes", code=1).error
    assert plugin("suspend", "--policy", policy, "--yes").out == f"{policy}: the policy suspends 1 set (web)\n"
    assert api.get(POLICIES, plugin.namespace, policy)["spec"]["suspend"] is True
    publish(api, plugin.namespace, "1.1.0", "fast")
    until(
        lambda: "suspends its sets" in plugin("status", "web", code=None).out, timeout=READY, message="the policy holds"
    )
    assert plugin("suspend", "--policy", policy).out == f"{policy}: the policy suspends its sets already.\n"
    plugin("resume", "--policy", policy, "--yes")
    wait_for_web(api, plugin, ended("1.1.0"))


def test_every_verb_says_since_when_no_operator_has_been_at_work(web, api, served):
    plugin = web()
    assert plugin("list").error == ""
    served.terminate()
    try:
        for verb in (("list",), ("get", "web"), ("plan", "web"), ("status", "web"), ("history", "web"), ("versions",)):
            said = plugin(*verb, code=None).error
            assert re.search(r"Warning: no operator has been at work since 20\S+Z, the last renewal of Lease", said), (
                verb
            )
        assert "no operator has been at work" in plugin("suspend", "web", "--yes").error
        assert "no operator" not in plugin("check", code=1).error
    finally:
        served.start()
        served.wait_ready()
    until(lambda: plugin("list").error == "", timeout=READY, message="the operator is at work again")
