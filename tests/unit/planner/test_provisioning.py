"""Custom data and extensions as a pod gets them."""

import base64
import json
import random
from typing import Any

import pytest

from scaleset.api.extensions import MAX_CUSTOM_DATA
from scaleset.planner import pod_builder, revisions
from scaleset.planner.instances import Build
from tests.simulation.rendering import IMAGE, OWNER, Json, rendered
from tests.simulation.world import spec

SCRIPT = "#!/bin/sh\necho ready > /tmp/state\n"
MOUNT = {"name": "scaleset-custom-data", "mountPath": "/var/lib/scaleset/custom-data", "subPath": "custom-data"}
SHARED = {"name": "scaleset-shared", "mountPath": "/var/lib/scaleset"}


def container(name: str = "app", **fields: Any) -> Json:
    return {"name": name, **fields}


def template(*containers: Json, **pod: Any) -> Json:
    return {"spec": {"containers": list(containers) or [container()], **pod}}


def extension(name: str, *after: str, **fields: Any) -> Json:
    order = {"provisionAfterExtensions": list(after)} if after else {}
    return {"name": name, "image": f"example.com/{name}:1", **order, **fields}


def names(extensions: list[Any]) -> list[str]:
    return [each["name"] for each in extensions]


def first(pod: Json) -> list[Json]:
    found: list[Json] = pod["spec"].get("initContainers", [])
    return found


# Custom data


@pytest.mark.parametrize(
    ("given", "delivered"),
    [
        (SCRIPT, SCRIPT),
        (base64.b64encode(SCRIPT.encode()).decode(), SCRIPT),
        (base64.encodebytes(SCRIPT.encode() * 10).decode(), SCRIPT * 10),
        ("#cloud-config\npackages: [nginx]\n", "#cloud-config\npackages: [nginx]\n"),
        ("grün ✓\n", "grün ✓\n"),
        (base64.b64encode("grün ✓\n".encode()).decode(), "grün ✓\n"),
        ("not base64!", "not base64!"),
        ("two words", "two words"),
        # what decodes to bytes that are no text is taken as it stands: an annotation holds text only
        (base64.b64encode(b"\x7fELF\xff\xfe").decode(), base64.b64encode(b"\x7fELF\xff\xfe").decode()),
        ("hello123", "hello123"),
    ],
    ids=[
        "text",
        "base64",
        "folded base64",
        "a document",
        "utf-8",
        "base64 of utf-8",
        "signs",
        "words",
        "binary",
        "word",
    ],
)
def test_custom_data_is_text_or_base64_of_text(given, delivered):
    assert pod_builder.custom_data_text(given) == delivered
    assert rendered(customData=given)["metadata"]["annotations"]["scaleset.dev/custom-data"] == delivered


@pytest.mark.parametrize("encode", [lambda text: text, lambda text: base64.b64encode(text.encode()).decode()])
def test_custom_data_may_have_64_kib_of_itself(encode):
    full = "#" * (MAX_CUSTOM_DATA - 1) + "\n"
    assert pod_builder.custom_data_text(encode(full)) == full
    with pytest.raises(ValueError, match=r"^spec.customData has 65537 bytes. Make it at most 65536.$"):
        pod_builder.custom_data_text(encode(full + "\n"))


def test_bytes_count_and_not_letters():
    with pytest.raises(ValueError, match="has 65538 bytes"):
        pod_builder.custom_data_text("ü" * (MAX_CUSTOM_DATA // 2 + 1))


def test_every_container_finds_the_custom_data_and_only_the_instance_shares_the_folder():
    """3.2: delivered to every container, the user's init containers among them, with mode 0755."""
    pod = rendered(
        customData=SCRIPT,
        template=template(container(), container("side"), initContainers=[container("mine", image="x")]),
    )
    mounts = {each["name"]: each["volumeMounts"] for each in [*first(pod), *pod["spec"]["containers"]]}
    assert mounts == {"mine": [MOUNT], "app": [MOUNT, SHARED], "side": [MOUNT]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["scaleset-shared"] == {"name": "scaleset-shared", "emptyDir": {}}
    field = {"fieldPath": "metadata.annotations['scaleset.dev/custom-data']"}
    assert volumes["scaleset-custom-data"]["downwardAPI"] == {
        "defaultMode": 0o755,
        "items": [{"path": "custom-data", "fieldRef": field}],
    }


def test_custom_data_is_not_run_unless_asked_for():
    assert first(rendered(customData=SCRIPT)) == []
    assert names(first(rendered(customData=SCRIPT, runCustomData=True))) == ["custom-data"]


def test_custom_data_runs_first_in_the_instance_image_with_what_the_instance_sees():
    own = container(
        env=[{"name": "A", "value": "1"}],
        envFrom=[{"secretRef": {"name": "s"}}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        securityContext={"runAsUser": 7},
        resources={"limits": {"memory": "1Gi"}},
        ports=[{"containerPort": 80}],
        command=["/server"],
        livenessProbe={"tcpSocket": {"port": 80}},
    )
    pod = rendered(
        customData=SCRIPT,
        runCustomData=True,
        extensions=[extension("agent")],
        template=template(own, initContainers=[container("mine", image="x")]),
    )
    assert names(first(pod)) == ["custom-data", "extension-agent", "mine"]
    runner = first(pod)[0]
    assert runner.pop("command")[:2] == ["/bin/sh", "-c"]
    assert runner == {
        "name": "custom-data",
        "image": IMAGE,
        "env": own["env"],
        "envFrom": own["envFrom"],
        "volumeMounts": [*own["volumeMounts"], MOUNT, SHARED],
        "securityContext": own["securityContext"],
        "resources": own["resources"],
    }


def test_rendering_twice_gives_the_same_and_leaves_the_model_alone():
    model = revisions.describe(
        OWNER.name, spec(customData=SCRIPT, runCustomData=True, extensions=[extension("b"), extension("a", "b")])
    )
    before = json.dumps(model.data, sort_keys=True)
    build = Build(model.name, "1.0.0", IMAGE)
    one, two = (pod_builder.pod(OWNER, model, build, 0, previous=None, created_at=0.0) for _ in range(2))
    assert one == two
    assert json.dumps(model.data, sort_keys=True) == before


# The order of extensions


@pytest.mark.parametrize(
    ("extensions", "order"),
    [
        ([], []),
        ([extension("c"), extension("a"), extension("b")], ["c", "a", "b"]),
        ([extension("a", "b"), extension("b")], ["b", "a"]),
        ([extension("a", "c"), extension("b"), extension("c")], ["b", "c", "a"]),
        ([extension("d", "b", "c"), extension("c", "a"), extension("b", "a"), extension("a")], ["a", "c", "b", "d"]),
        ([extension("a"), extension("b", "a"), extension("c")], ["a", "b", "c"]),
    ],
)
def test_extensions_run_as_listed_but_after_those_that_they_wait_for(extensions, order):
    assert names(pod_builder.extension_order(extensions)) == order
    assert names(first(rendered(extensions=extensions))) == [f"extension-{name}" for name in order]


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_without_a_cycle_has_a_stable_topological_order(seed):
    chance = random.Random(seed)
    ranks = [f"e{number}" for number in range(12)]
    chosen = [
        extension(name, *(other for other in ranks[:at] if chance.random() < 0.2)) for at, name in enumerate(ranks)
    ]
    chance.shuffle(chosen)
    order = names(pod_builder.extension_order(chosen))
    assert sorted(order) == sorted(ranks)
    for each in chosen:
        assert all(order.index(name) < order.index(each["name"]) for name in each.get("provisionAfterExtensions", ()))
    assert names(pod_builder.extension_order(pod_builder.extension_order(chosen))) == order


@pytest.mark.parametrize(
    ("extensions", "sentence"),
    [
        ([extension("a", "z")], "extension a waits for z, which does not exist"),
        ([extension("a", "a")], "extensions wait for one another: a -> a"),
        ([extension("a", "b"), extension("b", "a")], "extensions wait for one another: a -> b -> a"),
        (
            [extension("x"), extension("a", "c"), extension("b", "a"), extension("c", "b")],
            "extensions wait for one another: a -> c -> b -> a",
        ),
        ([extension("w", "a"), extension("a", "b"), extension("b", "a")], "wait for one another: a -> b -> a"),
        ([extension("a"), extension("b"), extension("a")], "extension a is listed twice"),
    ],
)
def test_what_has_no_order_is_refused_by_name(extensions, sentence):
    with pytest.raises(ValueError, match=f"{sentence}$"):
        pod_builder.extension_order(extensions)


# What extensions get


def environment(pod: Json, name: str) -> dict[str, Json]:
    (found,) = (each for each in first(pod) if each["name"] == f"extension-{name}")
    return {entry["name"]: entry for entry in found.get("env", [])}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "{}"),
        ({"b": 1, "a": [True, None, "x y"]}, '{"a":[true,null,"x y"],"b":1}'),
        ({"nested": {"deep": {"er": 1.5}}}, '{"nested":{"deep":{"er":1.5}}}'),
        ({"text": 'say "hi"'}, '{"text":"say \\"hi\\""}'),
    ],
)
def test_settings_are_json_of_one_form(settings, text):
    pod = rendered(extensions=[extension("agent", settings=settings)])
    value = environment(pod, "agent")["SCALESET_EXTENSION_SETTINGS"]["value"]
    assert value == text


def test_settings_are_not_expanded_by_the_kubelet():
    """$(NAME) in a value is a reference to another variable, for a kubelet; two dollars are one."""
    pod = rendered(extensions=[extension("agent", settings={"text": "$(HOME) costs 1 $, $$(HOME) 2"})])
    value = environment(pod, "agent")["SCALESET_EXTENSION_SETTINGS"]["value"]
    assert value == '{"text":"$$(HOME) costs 1 $$, $$$$(HOME) 2"}'


def test_no_settings_no_variable():
    assert environment(rendered(extensions=[extension("agent")]), "agent") == {}


@pytest.mark.parametrize(("key", "used"), [({}, "settings"), ({"key": "token"}, "token")])
def test_protected_settings_are_named_and_never_held(key, used):
    pod = rendered(extensions=[extension("agent", protectedSettingsSecretRef={"name": "agent", **key})])
    entry = environment(pod, "agent")["SCALESET_EXTENSION_PROTECTED_SETTINGS"]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "agent", "key": used}}
    assert "value" not in entry


def test_an_extension_inherits_and_brings_its_own():
    own = container(
        securityContext={"runAsUser": 7}, resources={"limits": {"memory": "1Gi"}}, imagePullPolicy="Always", env=[{}]
    )
    agent = extension(
        "agent",
        command=["/install"],
        args=["--now"],
        env=[{"name": "A", "value": "1"}],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    pod = rendered(customData=SCRIPT, extensions=[agent], template=template(own))
    assert first(pod) == [
        {
            "name": "extension-agent",
            "image": "example.com/agent:1",
            "command": ["/install"],
            "args": ["--now"],
            "env": [{"name": "A", "value": "1"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, MOUNT, SHARED],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": own["securityContext"],
            "resources": own["resources"],
            "imagePullPolicy": "Always",
        }
    ]


def test_suppressed_failures_are_swallowed_by_a_shell_that_leaves_the_exit_code():
    agent = extension("agent", command=["/install", "a b"], args=["$HOME"], suppressFailures=True)
    (found,) = first(rendered(extensions=[agent]))
    shell, flag, script, *words = found["command"]
    assert (shell, flag, words) == ("/bin/sh", "-c", ["/install", "a b", "$HOME"])
    assert script == '"$0" "$@"; code=$?; [ "$code" = 0 ] || echo "exit code $code" >/dev/termination-log; exit 0'
    assert "args" not in found


@pytest.mark.parametrize(("change", "new"), [({}, False), ({"forceUpdateTag": "2"}, True), ({"settings": {}}, True)])
def test_an_extension_is_part_of_the_model(change, new):
    before = revisions.describe("web", spec(extensions=[extension("agent")]))
    after = revisions.describe("web", spec(extensions=[extension("agent", **change)]))
    assert (before.name != after.name) is new


def test_nothing_to_run_nothing_added():
    """A pod of a set without these features is what it was before there were any."""
    pod = rendered()
    assert pod["spec"].keys() == {"containers", "hostname"}
    assert pod["metadata"]["annotations"].keys() == {"scaleset.dev/created-at", "scaleset.dev/image"}


def test_a_whole_pod():
    """Golden: everything that this module writes, as one pod."""
    pod = rendered(
        number=4,
        customData="echo hi\n",
        runCustomData=True,
        extensions=[
            extension("metrics", "agent", settings={"port": 9100}),
            extension("agent", protectedSettingsSecretRef={"name": "agent"}, forceUpdateTag="7"),
        ],
        zones=["z1", "z2", "z3"],
        updateDomains=5,
        location="west",
    )
    assert pod["metadata"]["labels"] == {
        "scaleset.dev/name": "web",
        "scaleset.dev/instance-id": "4",
        "scaleset.dev/image-version": "1.0.0",
        "scaleset.dev/model": pod["metadata"]["labels"]["scaleset.dev/model"],
        "scaleset.dev/update-domain": "1",
        "scaleset.dev/zone": "z2",
        "apps.kubernetes.io/pod-index": "4",
        "statefulset.kubernetes.io/pod-name": "web-4",
        "app.kubernetes.io/managed-by": "scaleset-operator",
    }
    mounts = [MOUNT, SHARED]
    last_words = {"terminationMessagePolicy": "FallbackToLogsOnError", "volumeMounts": mounts}
    secret = {"secretKeyRef": {"name": "agent", "key": "settings"}}
    assert pod["spec"] == {
        "hostname": "web-4",
        "nodeSelector": {"topology.kubernetes.io/region": "west", "topology.kubernetes.io/zone": "z2"},
        "containers": [
            {
                "name": "app",
                "image": IMAGE,
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                "volumeMounts": mounts,
            }
        ],
        "initContainers": [
            {
                "name": "custom-data",
                "image": IMAGE,
                "command": [
                    "/bin/sh",
                    "-c",
                    '"$0" "$@"; code=$?; [ "$code" = 0 ] || echo "exit code $code" >/dev/termination-log; exit 0',
                    "/var/lib/scaleset/custom-data",
                ],
                "volumeMounts": mounts,
            },
            {
                "name": "extension-agent",
                "image": "example.com/agent:1",
                "env": [{"name": "SCALESET_EXTENSION_PROTECTED_SETTINGS", "valueFrom": secret}],
                **last_words,
            },
            {
                "name": "extension-metrics",
                "image": "example.com/metrics:1",
                "env": [{"name": "SCALESET_EXTENSION_SETTINGS", "value": '{"port":9100}'}],
                **last_words,
            },
        ],
        "volumes": [
            {"name": "scaleset-shared", "emptyDir": {}},
            {
                "name": "scaleset-custom-data",
                "downwardAPI": {
                    "defaultMode": 493,
                    "items": [
                        {
                            "path": "custom-data",
                            "fieldRef": {"fieldPath": "metadata.annotations['scaleset.dev/custom-data']"},
                        }
                    ],
                },
            },
        ],
    }
