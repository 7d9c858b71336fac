"""What runs as a StatefulSet runs as a ScaleSet: templates of other people, as they are, beside the real one."""

from collections.abc import Iterable

from tests.cluster.harness.api import CLAIMS, IMAGES, PODS, SCALE_SETS, STATEFUL_SETS, Api, Json
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, has_model, ready, runs, says
from tests.cluster.harness.statefulsets import (
    APPLICATIONS,
    Differences,
    as_scale_set,
    documents,
    kind_of,
    main_container,
    version_of,
)

PATIENCE = 180.0
"""Seconds for dozens of pods at once, on a machine that has other things to do."""
AT_ONCE = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}


def install(scene: Scene, bodies: Iterable[Json]) -> None:
    """A version and a ScaleSet of each, written as strictly as kubectl writes."""
    scene.apply(upgrade_policy(rolling=AT_ONCE, healthTimeout="PT5M"))
    for body in bodies:
        version = version_of(body, "1.0.0", main_container(body)["image"])
        scene.api.create(IMAGES, scene.namespace, version)
        scene.api.create(SCALE_SETS, scene.namespace, as_scale_set(body), fieldValidation="Strict")


def on(bodies: Iterable[Json], version: str) -> dict[str, bool]:
    """Every set, for a comparison with `states`."""
    return {f"{body['metadata']['name']} {version}": True for body in bodies}


def states(world: World, bodies: Iterable[Json], version: str) -> dict[str, bool]:
    """Which sets have all their pods ready on that version, and say so."""
    return {f"{body['metadata']['name']} {version}": _is_on(world, body, version) for body in bodies}


def _is_on(world: World, body: Json, version: str) -> bool:
    name = body["metadata"]["name"]
    pods = world.pods_of(name)
    return (
        len(pods) == body["spec"]["replicas"]
        and all(ready(pod) and runs(pod) == version for pod in pods)
        and says(world, "Ready", name=name)["status"] == "True"
        and says(world, "UpToDate", name=name)["status"] == "True"
    )


def wait_for(scene: Scene, bodies: list[Json], version: str) -> None:
    scene.wait(
        lambda world: states(world, bodies, version) == on(bodies, version),
        f"all {len(bodies)} sets are ready on {version}",
        timeout=PATIENCE,
    )


def upgrade(scene: Scene, bodies: list[Json]) -> None:
    """To an image of the same repository, which is ready at once."""
    for body in bodies:
        repository = main_container(body)["image"].rpartition(":")[0]
        scene.api.create(IMAGES, scene.namespace, version_of(body, "1.1.0", f"{repository}:next-fast"))
    wait_for(scene, bodies, "1.1.0")


def images(pod: Json) -> dict[str, str]:
    containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    return {each["name"]: each["image"] for each in containers}


def stateful_pod(api: Api, namespace: str, name: str) -> Json:
    found = api.wait(PODS, namespace, name, bool, timeout=PATIENCE, message=f"the StatefulSet's {name} is there")
    assert found is not None
    return found


def test_twelve_applications_are_run_as_they_are_and_upgraded(scene: Scene) -> None:
    """Each pod is what the StatefulSet controller makes of the same template, but for the rows of the table in
    docs/statefulset.md.
    """
    files = [documents(name) for name in APPLICATIONS]
    bodies = [body for file in files for body in file if body["kind"] == "StatefulSet"]
    beside = scene.another_namespace()
    for body in (body for file in files for body in file):
        scene.api.create(kind_of(body), beside, body)
        if body["kind"] != "StatefulSet":
            scene.api.create(kind_of(body), scene.namespace, body)
    install(scene, bodies)
    wait_for(scene, bodies, "1.0.0")

    table, before = Differences(), {name: images(pod) for name, pod in scene.world.pods.items()}
    unlisted: list[str] = []
    for body in bodies:
        for number in range(body["spec"]["replicas"]):
            name = f"{body['metadata']['name']}-{number}"
            unlisted += table.unlisted(stateful_pod(scene.api, beside, name), scene.world.pods[name])
    assert unlisted == []
    assert table.seen == table.rows.keys()
    ours, theirs = (scene.api.list(CLAIMS, namespace) for namespace in (scene.namespace, beside))
    sizes = {each["metadata"]["name"]: (each["spec"]["resources"], each["spec"]["accessModes"]) for each in theirs}
    assert sizes == {
        each["metadata"]["name"]: (each["spec"]["resources"], each["spec"]["accessModes"]) for each in ours
    }
    labels = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in ours}
    for each in theirs:
        assert labels[each["metadata"]["name"]].items() >= (each["metadata"].get("labels") or {}).items()
    for body in bodies:
        scene.api.delete(STATEFUL_SETS, beside, body["metadata"]["name"])

    claims = scene.claims()
    upgrade(scene, bodies)
    assert scene.claims() == claims
    for body in bodies:
        main = main_container(body)
        for pod in scene.world.pods_of(body["metadata"]["name"]):
            image = f"{main['image'].rpartition(':')[0]}:next-fast"
            assert images(pod) == {**before[pod["metadata"]["name"]], main["name"]: image}


def test_twelve_shapes_of_other_peoples_objects_are_accepted(scene: Scene) -> None:
    bodies = documents("shapes")
    beside = scene.another_namespace()
    zookeeper = next(body for body in documents("zookeeper") if body["kind"] == "StatefulSet")
    zookeeper["metadata"]["name"], zookeeper["spec"]["replicas"] = "live", 1
    scene.api.create(STATEFUL_SETS, beside, zookeeper)
    bodies.append(scene.api.get(STATEFUL_SETS, beside, "live"))
    install(scene, bodies)
    wait_for(scene, bodies, "1.0.0")
    upgrade(scene, bodies)

    volumes = {each["name"]: each for each in scene.world.pods["volume-and-claim-0"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "data-volume-and-claim-0"}
    pod = scene.world.pods["template-metadata-0"]
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("template-metadata-0", "template-metadata")
    assert [owner["kind"] for owner in pod["metadata"]["ownerReferences"]] == ["ScaleSet"]
    assert images(scene.world.pods["init-without-image-0"]) == dict.fromkeys(
        ("migrate", "main", "worker"), "registry.example/app:next-fast"
    )


def test_an_image_in_the_template_is_told_and_rolls_nothing(scene: Scene) -> None:
    (body,) = [each for each in documents("shapes") if each["metadata"]["name"] == "image-left"]
    install(scene, [body])
    wait_for(scene, [body], "1.0.0")
    sentence = "The image 'registry.example/app:1-fast' of container main in spec.template is not used"
    assert sentence in says(scene.world, "Accepted", name="image-left")["message"]
    scene.event("ImageNotUsed", sentence)
    uids, models = scene.uids("image-left"), {has_model(pod) for pod in scene.world.pods.values()}

    scene.policy(rolling=AT_ONCE, mode="Automatic")
    main, other = body["spec"]["template"]["spec"]["containers"]
    changed = [{**main, "image": "registry.example/app:written-by-an-updater"}, other]
    scene.change("image-left", template={"spec": {"containers": changed}})
    scene.event("ImageNotUsed", "registry.example/app:written-by-an-updater")
    scene.never(lambda _: scene.uids("image-left") != uids, "an instance is replaced for it", seconds=3)
    wait_for(scene, [body], "1.0.0")
    assert {has_model(pod) for pod in scene.world.pods.values()} == models
