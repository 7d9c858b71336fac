"""Bad input that no schema can see becomes a condition with a sentence, and recovers by itself once it is corrected.

One operator serves all rows of the tables here, so each row also proves that the rows before have not stopped it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.harness.api import EVENTS, IMAGES, POLICIES, QUOTAS, SCALE_SETS, Json, condition
from tests.cluster.harness.desk import Desk, retemplate, templated, with_field, without
from tests.cluster.harness.fleet import limit, uids, wait_ready
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy

pytestmark = pytest.mark.timeout(180)

CANARY = "canary-5up3r-s3cr3t"


def gallery(desk: Desk, sku: str, version: str = "1.0.0", *, namespace: str = "", **spec: Any) -> None:
    desk.api.create(IMAGES, namespace or desk.namespace, image_version(version, behaviour="fast", sku=sku, **spec))


def wanting(name: str, *, replicas: int = 1, **reference: Any) -> Json:
    """A set of its own sku."""
    body = scale_set(name, replicas=replicas)
    body["spec"]["imageReference"].update({"sku": name, **reference})
    return body


def republish(desk: Desk, name: str, spec: Json) -> None:
    desk.api.patch(IMAGES, desk.namespace, f"{name}-1.0.0", {"spec": spec})


@dataclass
class Refusal:
    """How to get refused, what is said, and how to be accepted after all."""

    name: str
    reason: str
    says: str
    act: Callable[[Desk, str], None]
    fix: Callable[[Desk, str], None]


def only(create: Callable[[str], Json]) -> Callable[[Desk, str], None]:
    return lambda desk, name: desk.create(create(name))


def without_probe(pod: Json) -> None:
    del pod["containers"][0]["readinessProbe"]


def in_region(region: str) -> Callable[[Json], None]:
    return lambda pod: pod.update(nodeSelector={"topology.kubernetes.io/region": region})


def in_container(key: str, value: Any) -> Callable[[Json], None]:
    return lambda pod: pod["containers"][0].update({key: value})


def nothing(_: Json) -> None:
    pass


def do(*steps: Callable[[Desk, str], Any]) -> Callable[[Desk, str], None]:
    """One after the other."""

    def act(desk: Desk, name: str) -> None:
        for step in steps:
            step(desk, name)

    return act


def change(spec: Json) -> Callable[[Desk, str], None]:
    return lambda desk, name: desk.change(name, spec)


def publish_then_want(**spec: Any) -> Callable[[Desk, str], None]:
    def act(desk: Desk, name: str) -> None:
        gallery(desk, name, **spec)
        desk.create(wanting(name))

    return act


def foreign_then_want(**spec: Any) -> Callable[[Desk, str], None]:
    def act(desk: Desk, name: str) -> None:
        gallery(desk, name, namespace=desk.foreign, **spec)
        desk.create(wanting(name, galleryNamespace=desk.foreign))

    return act


def share(desk: Desk, name: str) -> None:
    sharing = {"scope": "Namespaces", "namespaces": [desk.namespace]}
    desk.api.patch(IMAGES, desk.foreign, f"{name}-1.0.0", {"spec": {"sharing": sharing}})


def with_quota(desk: Desk, name: str) -> None:
    limit(desk.api, desk.namespace, name, {"requests.memory": "1Ki"})
    desk.create(templated(name, in_container("resources", {"requests": {"memory": "1Mi"}})))


def without_quota(desk: Desk, name: str) -> None:
    desk.api.delete(QUOTAS, desk.namespace, name)


def model_refused(
    name: str, says: str, wrong: Callable[[Json], None], *, undo: Callable[[Json], None] = nothing
) -> Refusal:
    """The API server refuses pods with something wrong; a template without it is accepted."""
    return Refusal(name, "ModelRefused", says, only(lambda each: templated(each, wrong)), retemplate(undo))


def unusable(name: str, says: str, profile: Json, *, mended: Json) -> Refusal:
    """The only version has such a publishing profile; `mended` is merged into it."""
    act = publish_then_want(publishingProfile=profile)
    return Refusal(
        name, "ImageNotFound", says, act, lambda desk, _: republish(desk, name, {"publishingProfile": mended})
    )


AZURE = re.escape(
    "Automatic OS Upgrade is not supported for this ScaleSet because a health probe or health extension was not "
    "specified."
)
REFUSALS = [
    Refusal(
        "policy-missing",
        "PolicyNotFound",
        r"UpgradePolicy conditions/absent does not exist\. Create it, or change spec\.upgradePolicyRef\.name",
        only(lambda name: scale_set(name, replicas=1, policy="absent")),
        do(lambda desk, _: desk.api.create(POLICIES, desk.namespace, upgrade_policy("absent"))),
    ),
    Refusal(
        "policy-elsewhere",
        "PolicyNotFound",
        r"UpgradePolicy conditions/elsewhere does not exist",
        do(
            lambda desk, _: desk.api.create(POLICIES, desk.foreign, upgrade_policy("elsewhere")),
            only(lambda name: scale_set(name, replicas=1, policy="elsewhere")),
        ),
        change({"upgradePolicyRef": {"name": "policy"}}),
    ),
    Refusal(
        "image-missing",
        "ImageNotFound",
        r"No GalleryImageVersion in namespace conditions offers a version of example/os/image-missing\. Publish one",
        only(wanting),
        gallery,
    ),
    Refusal(
        "image-not-this-version",
        "ImageNotFound",
        r"offers a version 2\.0\.0 of example/os/image-not-this-version",
        do(gallery, only(lambda name: wanting(name, version="2.0.0"))),
        lambda desk, name: gallery(desk, name, "2.0.0"),
    ),
    unusable(
        "image-excluded",
        r"1\.0\.0 is the highest, but it is excluded from latest\.",
        {"excludeFromLatest": True},
        mended={"excludeFromLatest": False},
    ),
    unusable(
        "image-excluded-here",
        r"excluded from latest in region default",
        {"targetRegions": [{"name": "default", "excludeFromLatest": True}]},
        mended={"targetRegions": [{"name": "default"}]},
    ),
    unusable(
        "image-in-another-region",
        r"1\.0\.0 is the highest, but it is not replicated to region default",
        {"targetRegions": [{"name": "westeurope"}]},
        mended={"targetRegions": [{"name": "default"}]},
    ),
    unusable(
        "image-past-its-end",
        r"1\.0\.0 is the highest, but its end of life has passed",
        {"endOfLifeDate": "2020-01-01T00:00:00Z"},
        mended={"endOfLifeDate": None},
    ),
    Refusal(
        "image-not-shared",
        "ImageNotFound",
        r"1\.0\.0 is the highest, but it is not shared with namespace conditions",
        foreign_then_want(),
        share,
    ),
    Refusal(
        "image-shared-with-others",
        "ImageNotFound",
        r"it is not shared with namespace conditions",
        foreign_then_want(sharing={"scope": "Namespaces", "namespaces": ["others"]}),
        share,
    ),
    Refusal(
        "gallery-missing",
        "ImageNotFound",
        r"No GalleryImageVersion in namespace not-served offers a version of example/os/gallery-missing",
        only(lambda name: wanting(name, galleryNamespace="not-served")),
        do(gallery, change({"imageReference": {"galleryNamespace": None}})),
    ),
    Refusal(
        "no-health-signal",
        "InvalidSpec",
        AZURE + r" Give a container a readinessProbe",
        only(lambda name: templated(name, without_probe)),
        change({"health": {"source": "InstanceState"}}),
    ),
    Refusal(
        "no-health-signal-any-more",
        "InvalidSpec",
        AZURE,
        do(
            only(lambda name: templated(name, without_probe, policy=None)),
            lambda desk, name: desk.wait_accepted(name, "True", "Accepted"),
            change({"upgradePolicyRef": {"name": "policy"}}),
        ),
        change({"health": {"probe": {"protocol": "tcp", "port": 80}}}),
    ),
    Refusal(
        "regions-differ",
        "InvalidSpec",
        r"spec\.location is 'westeurope', but the template's nodeSelector asks for region 'eastus'\. Remove one",
        only(lambda name: templated(name, in_region("eastus"), location="westeurope")),
        # In one step: in between pods would be made that no node takes, and their model is nobody's to change here.
        retemplate(without("nodeSelector"), location=None),
    ),
    model_refused(
        "no-such-volume",
        r"volumeMounts\[0\]\.name: Not found: \"absent\"",
        in_container("volumeMounts", [{"name": "absent", "mountPath": "/x"}]),
    ),
    model_refused(
        "limit-below-request",
        r"must be less than or equal to",
        in_container("resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
    ),
    model_refused(
        "no-such-service-account",
        r'service account conditions/absent was not found|serviceaccount "absent" not found',
        with_field("serviceAccountName", "absent"),
        undo=without("serviceAccountName"),
    ),
    model_refused(
        "no-such-priority",
        r"no PriorityClass with name absent was found",
        with_field("priorityClassName", "absent"),
        undo=without("priorityClassName"),
    ),
    model_refused(
        "bad-port", r"containerPort: Invalid value: 99999", in_container("ports", [{"containerPort": 99999}])
    ),
    model_refused(
        "bad-quantity",
        r"quantities must match|unable to parse quantity",
        in_container("resources", {"requests": {"cpu": "a lot"}}),
    ),
    model_refused("wrong-type", r"cannot unmarshal", with_field("hostNetwork", "yes"), undo=without("hostNetwork")),
    Refusal("quota", "ModelRefused", r"exceeded quota: quota", with_quota, without_quota),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.name)
def test_refused_with_a_sentence_and_accepted_once_corrected(desk: Desk, row: Refusal) -> None:
    name = row.name
    row.act(desk, name)
    message = desk.wait_accepted(name, "False", row.reason)
    assert re.search(row.says, message), message
    found = desk.recorder.world.scale_sets[name]
    assert condition(found, "Ready") == "False"
    assert condition(found, "Stalled") == "True"
    row.fix(desk, name)
    desk.wait_accepted(name, "True", "Accepted")
    wait_ready(desk.recorder, name, version=found_version(desk, name), timeout=20)
    assert condition(desk.recorder.world.scale_sets[name], "Stalled") == "False"
    desk.api.delete(SCALE_SETS, desk.namespace, name)


def found_version(desk: Desk, name: str) -> str:
    found = desk.recorder.wait_for(
        lambda world: world.status(name).get("currentVersion"), timeout=10, message=f"{name} has a version"
    )
    return str(found)


def test_an_event_tells_of_each_refusal_once(desk: Desk) -> None:
    name = "told-once"
    desk.create(scale_set(name, replicas=1, policy="nobody"))
    desk.wait_accepted(name, "False", "PolicyNotFound")
    desk.api.patch(SCALE_SETS, desk.namespace, name, {"metadata": {"annotations": {"example.com/a": "b"}}})
    desk.recorder.never(lambda _: False, seconds=2, message="")
    told = [each for each in desk.api.list(EVENTS, desk.namespace) if each.get("regarding", {}).get("name") == name]
    assert [each["reason"] for each in told] == ["PolicyNotFound"]
    desk.api.delete(SCALE_SETS, desk.namespace, name)


def test_a_refused_model_leaves_the_instances_on_the_one_before(desk: Desk) -> None:
    name = "kept"
    desk.create(scale_set(name, replicas=2))
    wait_ready(desk.recorder, name)
    before = uids(desk.recorder.world, name)
    retemplate(with_field("serviceAccountName", "absent"))(desk, name)
    message = desk.wait_accepted(name, "False", "ModelRefused")
    assert "Instances stay on the model before." in message
    desk.change(name, {"replicas": 3})
    desk.recorder.wait_for(lambda world: len(world.pods_of(name)) == 3, timeout=10, message="it still scales out")
    assert before.items() <= uids(desk.recorder.world, name).items()
    desk.api.delete(SCALE_SETS, desk.namespace, name)


def test_no_secret_shows_anywhere(desk: Desk) -> None:
    """What the template carries in env, args and annotations stays in pods and models (S15)."""
    name = "discreet"

    def secret(pod: Json) -> None:
        pod["containers"][0].update(
            env=[{"name": "PASSWORD", "value": CANARY}], args=["--password", CANARY], serviceAccountName=None
        )
        pod["containers"][0].pop("serviceAccountName")

    desk.create(templated(name, secret))
    wait_ready(desk.recorder, name)
    # A refusal that quotes: the API server is given the secret in a field of the wrong type.
    retemplate(with_field("hostNetwork", CANARY))(desk, name)
    desk.wait_accepted(name, "False", "ModelRefused")
    retemplate(without("hostNetwork"))(desk, name)
    desk.wait_accepted(name, "True", "Accepted")
    desk.recorder.never(lambda _: False, seconds=1, message="")
    status = str(desk.recorder.world.status(name))
    events = str(desk.api.list(EVENTS, desk.namespace))
    assert CANARY not in desk.operator.log()
    assert CANARY not in status
    assert CANARY not in events
    assert CANARY not in desk.operator.metrics()
    desk.api.delete(SCALE_SETS, desk.namespace, name)
