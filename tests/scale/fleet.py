"""The objects of a large fleet at rest, as an API server lists them, made one page at a time.

They are copies of what a real API server stored for one set (`tests/cluster/stored`), with the template of a usual pod,
the status that a kubelet writes and managedFields. Names, uids, versions, addresses and nodes differ in each copy. The
status of the set is what the planner wants of it, so that a fleet of today's operator is at rest.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from scaleset.api import names
from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.status_writer import merge_patch
from scaleset.planner import status_codec
from scaleset.planner.decide import decide
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision, describe
from scaleset.planner.snapshot import Snapshot, Verdict
from scaleset.records import projections
from scaleset.records.custom_objects import Projection
from scaleset.records.versions import gallery_version
from tests.cluster.stored import objects
from tests.scale.copies import Json, Shape, digest, uid
from tests.unit.fake_api_server import merged

NEWEST = "1.1.0"
AGE = timedelta(days=3)
NODES = 5000
_KINDS = ("controllerrevisions", "galleryimageversions", "pods", "scalesets", "upgradepolicies")
PASSES = 5
"""Most decisions until the status of a set is at rest."""
_NO_DIGEST = "0" * 64
_DIGEST = "d" * 64
_SET_UID, _OWN_UID, _RUNS, _NODE = (f"{n}{n}{n}{n}0000-0000-4000-8000-{n:012d}" for n in range(1, 5))
_CONTAINER: Json = {
    "name": "os",
    "args": ["--listen", ":8080", "--data", "/var/lib/serve"],
    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
    "env": [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": "LOG_LEVEL", "value": "info"},
        {"name": "DATABASE", "value": "db.example.svc.cluster.local:5432"},
    ],
    "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
    "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 10},
    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/serve"}],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
_DATA: Json = {"name": "data", "emptyDir": {}}


@dataclass(frozen=True)
class Place:
    """One set, by its number."""

    number: int
    namespace: str
    name: str
    policy: str
    definition: int

    @property
    def uid(self) -> str:
        return uid("set", self.number)


@dataclass(frozen=True)
class Fleet:
    """`sets` sets of `instances`. The first `followers` of them take their image from the first definition, the others
    from the rest in turn.
    """

    sets: int
    instances: int = 10
    namespaces: int = 100
    policies: int = 500
    definitions: int = 200
    versions: int = 50
    followers: int = 1000
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def place(self, number: int) -> Place:
        namespace = number % self.namespaces
        each = self.policies // self.namespaces
        policy = namespace * each + (number // self.namespaces) % each
        definition = 0 if number < self.followers else 1 + number % (self.definitions - 1)
        return Place(number, f"team-{namespace:03d}", f"web-{number:05d}", f"policy-{policy:03d}", definition)

    def places(self) -> Iterator[Place]:
        return map(self.place, range(self.sets))

    def gallery(self, definition: int) -> tuple[str, str]:
        """Namespace and offer of an image definition."""
        return f"team-{definition % self.namespaces:03d}", f"offer-{definition:03d}"

    def number_of(self, version: int) -> str:
        """The versions of a definition; the last two are those that every set has run."""
        return NEWEST if version == self.versions - 1 else "1.0.0" if version == self.versions - 2 else f"0.{version}.0"

    # The set that all are copied from

    @cached_property
    def _recorded(self) -> objects.Stored:
        return objects.read("completed").at(self.moment - AGE)

    def _the(self, kind: str) -> Json:
        found: Json = json.loads(json.dumps(self._recorded.of(kind)[-1]).replace(_NO_DIGEST, _DIGEST))
        return found

    @cached_property
    def _template(self) -> Json:
        return {
            "metadata": {"labels": {"app": "web", "tier": "front"}, "annotations": {"prometheus.io/scrape": "true"}},
            "spec": {"containers": [_CONTAINER], "volumes": [_DATA]},
        }

    @cached_property
    def _scale_set(self) -> Json:
        """As recorded, of the size wanted, and with the status that the planner wants."""
        body = self._the("ScaleSet")
        recorded, last = body["spec"]["replicas"], self.instances - 1
        body["metadata"] |= {"name": "the-set", "namespace": "the-namespace", "uid": _SET_UID, "resourceVersion": "7"}
        body["spec"] |= {
            "replicas": self.instances,
            "template": self._template,
            "singlePlacementGroup": self.instances <= 100,
        }
        body["spec"]["imageReference"] |= {"offer": "the-offer", "galleryNamespace": "the-gallery"}
        body["spec"]["upgradePolicyRef"] = {"name": "the-policy"}
        text = json.dumps(body["status"]).replace(f'"0-{recorded - 1}"', f'"0-{last}"' if last else '"0"')
        text = text.replace(f": {recorded},", f": {self.instances},").replace(
            f": {recorded}}}", f": {self.instances}}}"
        )
        text = text.replace(self._the("ControllerRevision")["metadata"]["name"], self._model(body).name)
        body["status"] = json.loads(text)
        for _ in range(PASSES):
            patch = self._wanted(body)
            if not patch:
                return body
            body["status"] = merged(body["status"], patch)
        raise AssertionError(f"the recorded set does not come to rest; it still wants {sorted(patch)}")

    def _model(self, body: Json) -> Revision:
        return describe(body["metadata"]["name"], ScaleSetSpec.parse(body))

    def _wanted(self, body: Json) -> Json:
        """What the planner would write. It must not want anything else."""
        seen = Projection(ScaleSetSpec.parse, describe)(body)
        assert seen.spec is not None, seen.problem
        assert seen.model is not None
        reported = ScaleSetStatus.parse({"status": body["status"]})
        revision = projections.revision(self._revision(body))
        pods = {n: projections.pod(_numbered(self._pod(body), n)) for n in range(self.instances)}
        version = gallery_version(Projection(GalleryImageVersionSpec.parse)(self._version))
        assert version is not None
        plan = decide(
            Snapshot(
                owner=Identity(seen.namespace, seen.name, seen.uid),
                generation=seen.generation,
                spec=seen.spec,
                state=status_codec.read(reported),
                model=seen.model,
                now=self.moment.timestamp(),
                policy=UpgradePolicySpec.parse(self._policy),
                pods=pods,
                models=(revision.model,),
                catalogue=(version,),
                verdicts={seen.model.name: Verdict(accepted=True)},
                reported=reported,
            )
        )
        assert not plan.needs, plan.needs
        assert not [*plan.store, *plan.deletions, *plan.changes, *plan.creations], plan
        return merge_patch(reported.to_raw(), plan.status)

    def _owned(self, body: Json, *, name: str, owner: Json) -> Json:
        body["metadata"] |= {"name": name, "namespace": "the-namespace", "uid": _OWN_UID, "resourceVersion": "7"}
        body["metadata"]["ownerReferences"][0] |= {"name": "the-set", "uid": owner["metadata"]["uid"]}
        body["metadata"]["labels"] |= {names.LABEL_NAME: "the-set"}
        return {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}

    def _revision(self, owner: Json) -> Json:
        model = self._model(owner)
        body = {**self._the("ControllerRevision"), "data": model.data}
        return self._owned(body, name=model.name, owner=owner)

    def _pod(self, owner: Json) -> Json:
        """As recorded, with what the template has, and as a kubelet reports it."""
        body, model = self._the("Pod"), self._model(owner).name
        container = body["spec"]["containers"][0]
        mounts = [*_CONTAINER["volumeMounts"], *container["volumeMounts"]]
        probe = {"failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1}
        container |= {**_CONTAINER, "volumeMounts": mounts}
        for kind in ("readinessProbe", "livenessProbe"):
            container[kind] = {**probe, **container[kind]}
        body["spec"]["volumes"].append(_DATA)
        body["spec"] |= {"nodeName": _NODE, "hostname": "the-set-the-number"}
        metadata = body["metadata"]
        metadata["labels"] |= {"tier": "front", names.LABEL_MODEL: model, names.LABEL_INSTANCE_ID: "the-number"}
        metadata["annotations"] |= {"prometheus.io/scrape": "true", names.ANNOTATION_IMAGE: container["image"]}
        before = json.loads(metadata["annotations"][names.ANNOTATION_PREVIOUS])
        metadata["annotations"][names.ANNOTATION_PREVIOUS] = json.dumps({**before, "model": model})
        self._report(body["status"], container, at=metadata["creationTimestamp"])
        return self._owned(body, name="the-set-the-number", owner=owner)

    def _report(self, status: Json, container: Json, *, at: str) -> None:
        """What kubelets report beside that which simulated ones do."""
        status["hostIPs"] = [{"ip": status["hostIP"]}]
        status["conditions"].append(
            {
                "type": "PodReadyToStartContainers",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": at,
                "observedGeneration": 1,
            }
        )
        status["containerStatuses"][0] |= {
            "containerID": f"containerd://{_RUNS}",
            "imageID": container["image"],
            "allocatedResources": container["resources"]["requests"],
            "resources": container["resources"],
            "user": {"linux": {"uid": 1000, "gid": 1000, "supplementalGroups": [1000]}},
            "volumeMounts": container["volumeMounts"],
        }

    @cached_property
    def _policy(self) -> Json:
        body = self._the("UpgradePolicy")
        body["metadata"] |= {"name": "the-policy", "namespace": "the-namespace", "uid": _OWN_UID}
        body["metadata"]["resourceVersion"] = "7"
        body["spec"].pop("minReadyTime")  # a zero, which a sentence of the status would be about
        body["spec"] |= {"maxConcurrentScaleSets": 5, "healthTimeout": "PT10M"}
        body["status"]["scaleSets"] = 4321
        return body

    @cached_property
    def _version(self) -> Json:
        body = self._the("GalleryImageVersion")
        body["metadata"] |= {"name": f"the-offer-{NEWEST}", "namespace": "the-gallery", "uid": _OWN_UID}
        body["metadata"]["resourceVersion"] = "7"
        body["spec"] |= {"offer": "the-offer", "sharing": {"scope": "Community"}}
        return body

    # Copies

    @cached_property
    def _model_name(self) -> str:
        return self._model(self._scale_set).name

    @cached_property
    def _shape_of_pods(self) -> Json:
        return self._pod(self._scale_set)

    @cached_property
    def _addresses(self) -> tuple[str, str]:
        """Those of the pod and of its node."""
        status = self._shape_of_pods["status"]
        return status["podIP"], status["hostIP"]

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        own = ("the-namespace", _OWN_UID, '"resourceVersion":"7"')
        of_set = (*own, "the-set", self._model_name, _SET_UID, "the-offer", "the-gallery", "the-policy", _DIGEST)
        pod, addresses = self._shape_of_pods, self._addresses
        return {
            "scalesets": Shape.of(self._scale_set, *of_set),
            "controllerrevisions": Shape.of(self._revision(self._scale_set), *of_set),
            "pods": Shape.of(pod, *of_set, "the-number", _RUNS, _NODE, *addresses),
            "upgradepolicies": Shape.of(self._policy, *own, "the-policy", "4321"),
            "galleryimageversions": Shape.of(self._version, *own, "the-gallery", "the-offer", NEWEST, _DIGEST),
        }

    def count(self, plural: str) -> int:
        return {
            "pods": self.sets * self.instances,
            "scalesets": self.sets,
            "controllerrevisions": self.sets,
            "upgradepolicies": self.policies,
            "galleryimageversions": self.definitions * self.versions,
        }.get(plural, 0)

    @property
    def custom_objects(self) -> int:
        return sum(map(self.count, ("scalesets", "upgradepolicies", "galleryimageversions")))

    def of_set(self, plural: str, number: int) -> range:
        """Which pods or revisions belong to that set."""
        each = self.instances if plural == "pods" else 1
        return range(number * each, (number + 1) * each) if plural in ("pods", "controllerrevisions") else range(0)

    def copy(self, plural: str, index: int, *, version: int | None = None) -> str:
        """The JSON of one object, as of that resourceVersion."""
        values = self._values[plural](index)
        values['"resourceVersion":"7"'] = f'"resourceVersion":"{version or self._version_of(plural, index)}"'
        return self._shapes[plural].copy(values)

    def _version_of(self, plural: str, index: int) -> int:
        """The resourceVersion of an object that nobody changed."""
        return 100_000_000 + 10 * index + _KINDS.index(plural)

    @property
    def listed(self) -> int:
        """The resourceVersion of the first lists: every object is older."""
        return 900_000_000

    @cached_property
    def _values(self) -> dict[str, Callable[[int], dict[str, str]]]:
        return {
            "pods": self._of_pod,
            "scalesets": self._of_set,
            "controllerrevisions": self._of_set,
            "upgradepolicies": self._of_policy,
            "galleryimageversions": self._of_version,
        }

    def _of_set(self, index: int) -> dict[str, str]:
        place = self.place(index)
        gallery, offer = self.gallery(place.definition)
        return {
            "the-namespace": place.namespace,
            "the-set": place.name,
            "the-policy": place.policy,
            "the-offer": offer,
            "the-gallery": gallery,
            _SET_UID: place.uid,
            _OWN_UID: uid("revision", index),
            _DIGEST: digest(offer, NEWEST),
            self._model_name: self._models(place),
        }

    def _models(self, place: Place) -> str:
        """The name of the set's model, which has a hash of its name and content."""
        found = self._known_models.get(place.number)
        if found is None:
            gallery, offer = self.gallery(place.definition)
            spec = self._scale_set["spec"]
            image = {**spec["imageReference"], "offer": offer, "galleryNamespace": gallery}
            mine = {"metadata": {"name": place.name}, "spec": {**spec, "imageReference": image}}
            found = self._known_models[place.number] = self._model(mine).name
        return found

    @cached_property
    def _known_models(self) -> dict[int, str]:
        return {}

    def _of_pod(self, index: int) -> dict[str, str]:
        number, instance = divmod(index, self.instances)
        node = index % NODES
        address, host = self._addresses
        if self._last_set.get("number") != number:
            self._last_set.update(number=number, values=self._of_set(number))
        return {
            **self._last_set["values"],
            "the-number": str(instance),
            _OWN_UID: uid("pod", index),
            _RUNS: digest("container", index),
            _NODE: f"node-{node:05d}.example.internal",
            address: f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}",
            host: f"172.16.{node >> 8}.{node & 255}",
        }

    @cached_property
    def _last_set(self) -> Json:
        """Pods are listed set by set."""
        return {}

    def _of_policy(self, index: int) -> dict[str, str]:
        each = self.policies // self.namespaces
        name = f"policy-{index:03d}"
        return {
            "the-namespace": f"team-{index // each:03d}",
            "the-policy": name,
            _OWN_UID: uid("policy", index),
            "4321": str(self._users.get(name, 0)),
        }

    @cached_property
    def _users(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for place in self.places():
            found[place.policy] = found.get(place.policy, 0) + 1
        return found

    def _of_version(self, index: int) -> dict[str, str]:
        definition, version = divmod(index, self.versions)
        gallery, offer = self.gallery(definition)
        number = self.number_of(version)
        return {
            "the-gallery": gallery,
            "the-namespace": gallery,
            "the-offer": offer,
            NEWEST: number,
            _OWN_UID: uid("version", index),
            _DIGEST: digest(offer, number),
        }


def _numbered(body: Json, number: int) -> Json:
    found: Json = json.loads(json.dumps(body).replace("the-number", str(number)))
    return found
