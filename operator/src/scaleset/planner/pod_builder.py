"""The objects of an instance, as they are sent to the API server: its pod and its claims.

The template is the user's. The operator adds identity (name, hostname, labels), the image of the instance container and
of every container without one, the volumes of the claims, the region, and the health probe. The labels include those of
a StatefulSet that Services and variables refer to. No label of the operator is part of a model, so a new one replaces
no pod. Claims bear labels, and no owner unless the set was made with
`persistentVolumeClaimRetentionPolicy.whenDeleted: Delete`: otherwise neither the operator nor the garbage collector
ever deletes data.

Custom data and extensions are init containers, so they run again in every new pod, and the instance is healthy only
after they have finished. Custom data travels in an annotation of the pod and is mounted from there (downward API): it
needs no Secret and no ConfigMap, and cannot differ from the model. All these containers share /var/lib/scaleset with
the instance container.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import ceil
from typing import Any, NamedTuple

from scaleset.api import names
from scaleset.api.base import JSON
from scaleset.api.extensions import MAX_CUSTOM_DATA
from scaleset.api.moments import timestamp
from scaleset.planner import operating_system
from scaleset.planner.gallery import DEFAULT_REGION
from scaleset.planner.instances import Build
from scaleset.planner.placement import place, zone_name
from scaleset.planner.revisions import UPDATE_DOMAINS, Revision

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
SHARED = "/var/lib/scaleset"
_SHARED_VOLUME = "scaleset-shared"
_CUSTOM_DATA_VOLUME = "scaleset-custom-data"
_MANAGED = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
_INHERITED = ("securityContext", "resources", "imagePullPolicy")


class Identity(NamedTuple):
    """The ScaleSet that an object belongs to."""

    namespace: str
    name: str
    uid: str
    owns_claims: bool = False
    """Whether its claims are deleted together with it."""

    def instance(self, number: int) -> str:
        """Name of an instance: of its pod and its host."""
        return f"{self.name}-{number}"

    def claim(self, template: str, number: int) -> str:
        return f"{template}-{self.name}-{number}"

    def owner_reference(self) -> dict[str, Any]:
        """The reference of pods and revisions, which the set controls."""
        return {**self.claim_reference(), "controller": True, "blockOwnerDeletion": True}

    def claim_reference(self) -> dict[str, Any]:
        """The reference of a claim that goes with the set. The set does not control it: it is only deleted with it."""
        return {"apiVersion": names.API_VERSION, "kind": "ScaleSet", "name": self.name, "uid": self.uid}


def pod(
    owner: Identity, model: Revision, build: Build, number: int, *, previous: Build | None, created_at: float
) -> dict[str, Any]:
    """The pod of one instance."""
    template = deepcopy(dict(model.template))
    user: dict[str, Any] = template.get("metadata") or {}
    annotations = dict(user.get("annotations") or {})
    annotations[names.ANNOTATION_CREATED_AT] = timestamp(created_at)
    annotations[names.ANNOTATION_IMAGE] = build.image
    if build.restart is not None:
        annotations[names.ANNOTATION_RESTARTED] = timestamp(build.restart)
    if previous is not None:
        annotations[names.ANNOTATION_PREVIOUS] = previous_build(previous)
    spec: dict[str, Any] = template.get("spec") or {}
    spec["hostname"] = owner.instance(number)
    spec.pop("subdomain", None)
    if service := model.data.get("serviceName"):
        spec["subdomain"] = service
    container = _instance_container(spec, model)
    _add_image(spec, container, build.reference)
    _add_probe(container, (model.data.get("health") or {}).get("probe"))
    zones = model.data.get("zones") or ()
    zone = zone_name(number, zones)
    where = place(number, zones=len(zones), update_domains=model.data.get("updateDomains", UPDATE_DOMAINS))
    _add_place(spec, model.data.get("location"), zone)
    operating_system.add(spec, build.os_type)
    _add_claims(spec, owner, model, number)
    rendered = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": owner.instance(number),
            "namespace": owner.namespace,
            "labels": {
                **_labels(owner, number, user.get("labels") or {}),
                names.LABEL_POD_INDEX: str(number),
                names.LABEL_POD_NAME: owner.instance(number),
                **build_labels(build),
                names.LABEL_UPDATE_DOMAIN: str(where.update_domain),
                **({names.LABEL_ZONE: zone} if zone else {}),
            },
            "annotations": annotations,
            "ownerReferences": [owner.owner_reference()],
            **_finalizers(user),
        },
        "spec": spec,
    }
    _add_provisioning(rendered, model.data, container, system=build.os_type)
    return rendered


def claim(owner: Identity, model: Revision, name: str, number: int) -> dict[str, Any]:
    """The claim of one data disk of one instance. It bears the labels of its template and those of the pod, as a
    StatefulSet puts the labels of its selector on claims: backups and rules of a cluster go by them.
    """
    template = next(t for t in model.data["volumeClaimTemplates"] if t["metadata"]["name"] == name)
    user: Mapping[str, Any] = template["metadata"]
    labels = {**_template_labels(model), **(user.get("labels") or {})}
    metadata: dict[str, Any] = {
        "name": owner.claim(name, number),
        "namespace": owner.namespace,
        "labels": _labels(owner, number, labels),
    }
    if user.get("annotations"):
        metadata["annotations"] = dict(user["annotations"])
    if owner.owns_claims:
        metadata["ownerReferences"] = [owner.claim_reference()]
    metadata |= _finalizers(user)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": deepcopy(dict(template["spec"])),
    }


def revision(owner: Identity, model: Revision, number: int) -> dict[str, Any]:
    """The ControllerRevision that stores a model. It bears the template's labels as well: a cluster may require labels
    on every object.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": model.name,
            "namespace": owner.namespace,
            "labels": {**_MANAGED, **_template_labels(model), names.LABEL_NAME: owner.name},
            "ownerReferences": [owner.owner_reference()],
        },
        "revision": number,
        "data": model.data,
    }


def _template_labels(model: Revision) -> Mapping[str, str]:
    return (model.template.get("metadata") or {}).get("labels") or {}


def _labels(owner: Identity, number: int, user: Mapping[str, str]) -> dict[str, str]:
    """The user's labels and the operator's. Who manages the object is the user's to say."""
    return {**_MANAGED, **user, names.LABEL_NAME: owner.name, names.LABEL_INSTANCE_ID: str(number)}


def build_labels(build: Build) -> dict[str, str]:
    """The labels that name the build of a pod."""
    return {names.LABEL_VERSION: build.version, names.LABEL_MODEL: build.model}


def previous_build(build: Build) -> str:
    """The annotation that names the previous build of a pod's instance."""
    found = {"model": build.model, "version": build.version, "image": build.image, "osType": build.os_type}
    named = {**found, "digest": build.digest}
    return json.dumps({key: value for key, value in named.items() if value is not None}, separators=(",", ":"))


def _instance_container(spec: dict[str, Any], model: Revision) -> dict[str, Any]:
    for container in spec.get("containers") or []:
        if container.get("name") == model.instance_container:
            found: dict[str, Any] = container
            return found
    raise ValueError(f"the template has no container {model.instance_container!r}")


def _finalizers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    finalizers = metadata.get("finalizers")
    return {"finalizers": list(finalizers)} if finalizers else {}


def _add_image(spec: dict[str, Any], instance_container: dict[str, Any], image: str) -> None:
    """Adds the image of the version to the instance container and to every container without an image: tools of the
    same image.
    """
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if container is instance_container or not container.get("image"):
            container["image"] = image


def _add_probe(container: dict[str, Any], probe: Mapping[str, Any] | None) -> None:
    """Adds the health extension's settings as probes: the same number of probes in a row changes the state in both
    directions.
    """
    if not probe:
        return
    protocol = probe["protocol"]
    if protocol == "tcp":
        check: dict[str, Any] = {"tcpSocket": {"port": probe["port"]}}
    else:
        port = probe.get("port") or (443 if protocol == "https" else 80)
        check = {"httpGet": {"path": probe["requestPath"], "port": port, "scheme": protocol.upper()}}
    interval = probe.get("intervalInSeconds", 5)
    needed = probe.get("numberOfProbes", 1)
    container["readinessProbe"] = {
        **check,
        "periodSeconds": interval,
        "successThreshold": needed,
        "failureThreshold": needed,
    }
    if grace := probe.get("gracePeriodInSeconds"):
        container["startupProbe"] = {
            **check,
            "periodSeconds": interval,
            "failureThreshold": max(1, ceil(grace / interval)),
        }


def _add_place(spec: dict[str, Any], location: str | None, zone: str | None) -> None:
    """Ties the pod to region and zone. Nodes without the label form region `default`, which no selector can name."""
    wanted = {}
    if location and location != DEFAULT_REGION:
        wanted[REGION_LABEL] = location
    if zone:
        wanted[ZONE_LABEL] = zone
    if wanted:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **wanted}


def _add_claims(spec: dict[str, Any], owner: Identity, model: Revision, number: int) -> None:
    """Like a StatefulSet: a volume named as the claim template, which wins over one of the same name in the "
    "template."""
    if not model.claim_names:
        return
    others = [volume for volume in spec.get("volumes") or [] if volume.get("name") not in model.claim_names]
    spec["volumes"] = others + [
        {"name": name, "persistentVolumeClaim": {"claimName": owner.claim(name, number)}} for name in model.claim_names
    ]


# --- custom data and extensions


def custom_data_text(custom_data: str) -> str:
    """The custom data itself: decoded if it is base64 of text, else as it stands. ValueError when it is too large."""
    plain = _decoded(custom_data)
    if len(plain.encode()) > MAX_CUSTOM_DATA:
        raise ValueError(f"spec.customData has {len(plain.encode())} bytes. Make it at most {MAX_CUSTOM_DATA}.")
    return plain


def _decoded(custom_data: str) -> str:
    """Custom data that decodes strictly to text is base64. A short word may be both; a line break at its end marks it
    as plain text.
    """
    if any(sign.isspace() for sign in custom_data.strip()) and "\n" not in custom_data.strip():
        return custom_data
    try:
        return base64.b64decode("".join(custom_data.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return custom_data


def extension_order(extensions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The extensions in the order in which they run: as listed, but each after the extensions that it depends on.

    ValueError names an extension that is listed twice or unknown, or extensions that depend on one another.
    """
    names_listed = [extension["name"] for extension in extensions]
    twice = next((name for name in names_listed if names_listed.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"extension {twice} is listed twice")
    known = set(names_listed)
    for extension in extensions:
        for name in extension.get("provisionAfterExtensions") or ():
            if name not in known:
                raise ValueError(f"extension {extension['name']} waits for {name}, which does not exist")
    done: list[Mapping[str, Any]] = []
    through: set[str] = set()
    left = list(extensions)
    while left:
        ready = next((e for e in left if through.issuperset(e.get("provisionAfterExtensions") or ())), None)
        if ready is None:
            raise ValueError(f"extensions wait for one another: {' -> '.join(_cycle(left))}")
        left.remove(ready)
        done.append(ready)
        through.add(ready["name"])
    return done


def _cycle(extensions: Sequence[Mapping[str, Any]]) -> list[str]:
    """One cycle among extensions that each depend on another one of them."""
    waits = {e["name"]: e["provisionAfterExtensions"] for e in extensions}
    path = [extensions[0]["name"]]
    while True:
        following = next(name for name in waits[path[-1]] if name in waits)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _add_provisioning(pod: JSON, model: Mapping[str, Any], container: JSON, *, system: str | None) -> None:
    """Add custom data and extensions to a pod; `container` is its instance container, with its image."""
    data, extensions = model.get("customData"), model.get("extensions") or ()
    if not data and not extensions:
        return
    spec = pod["spec"]
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": _SHARED_VOLUME, "emptyDir": {}}]
    first: list[JSON] = []
    mounts: list[JSON] = []
    if data:
        pod["metadata"]["annotations"][names.ANNOTATION_CUSTOM_DATA] = custom_data_text(data)
        way = operating_system.custom_data(system)
        spec["volumes"].append(_custom_data_volume(way.file))
        mounts = [{"name": _CUSTOM_DATA_VOLUME, **way.mount}]
        for other in (*(spec.get("initContainers") or ()), *spec["containers"]):
            _mount(other, *mounts)
        if model.get("runCustomData"):
            first.append(_custom_data_container(container, way.command))
    first += [_extension_container(extension, container, mounts) for extension in extension_order(extensions)]
    _mount(container, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    if first:
        spec["initContainers"] = [*first, *(spec.get("initContainers") or ())]


def _mount(container: JSON, *mounts: JSON) -> None:
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), *mounts]


def _custom_data_volume(file: str) -> JSON:
    field = {"fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_CUSTOM_DATA}']"}}
    return {
        "name": _CUSTOM_DATA_VOLUME,
        "downwardAPI": {"defaultMode": 0o755, "items": [{"path": file, **field}]},
    }


def _custom_data_container(container: JSON, command: Sequence[str]) -> JSON:
    """The custom data container: it runs the instance image with everything that the instance container sees."""
    own = {key: container[key] for key in ("env", "envFrom", "volumeMounts", *_INHERITED) if key in container}
    runner = {
        **own,
        "name": names.CONTAINER_CUSTOM_DATA,
        "image": container["image"],
        "command": list(command),
    }
    _mount(runner, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    return runner


def _extension_container(extension: Mapping[str, Any], container: JSON, mounts: Sequence[JSON]) -> JSON:
    """The container of one extension, with further mounts. The end of its log becomes the instance's error."""
    env = list(extension.get("env") or ())
    if extension.get("settings") is not None:
        settings = json.dumps(extension["settings"], sort_keys=True, separators=(",", ":"))
        # The kubelet expands $(NAME) in the value of a variable and reads $$ as one $.
        env.append({"name": "SCALESET_EXTENSION_SETTINGS", "value": settings.replace("$", "$$")})
    if secret := extension.get("protectedSettingsSecretRef"):
        source = {"secretKeyRef": {"name": secret["name"], "key": secret.get("key", "settings")}}
        env.append({"name": "SCALESET_EXTENSION_PROTECTED_SETTINGS", "valueFrom": source})
    rendered: JSON = {
        **{key: container[key] for key in _INHERITED if key in container},
        "name": f"{names.CONTAINER_EXTENSION}{extension['name']}",
        "image": extension["image"],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(extension.get("volumeMounts") or ()),
    }
    if env:
        rendered["env"] = env
    command, args = list(extension.get("command") or ()), list(extension.get("args") or ())
    if extension.get("suppressFailures"):
        rendered["command"] = ["/bin/sh", "-c", operating_system.NEVER_FAILS, *command, *args]
    else:
        rendered |= {key: value for key, value in (("command", command), ("args", args)) if value}
    _mount(rendered, *mounts, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    return rendered
