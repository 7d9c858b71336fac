"""The objects of an instance, as they are sent to the API server: its pod and its claims.

The template is the user's. The operator adds identity (name, hostname, labels), the image of the instance container and
of every container without one, the volumes of the claims, the region, and the health probe. Claims bear labels and no
owner: neither the operator nor the garbage collector ever deletes data.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Any

from scaleset.api import names
from scaleset.api.moments import timestamp
from scaleset.planner import provisioning
from scaleset.planner.gallery import DEFAULT_REGION
from scaleset.planner.instances import Build
from scaleset.planner.placement import place, zone_name
from scaleset.planner.revisions import UPDATE_DOMAINS, Revision

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Identity:
    """The ScaleSet that an object belongs to."""

    namespace: str
    name: str
    uid: str

    def instance(self, number: int) -> str:
        """Name of an instance: of its pod and its host."""
        return f"{self.name}-{number}"

    def claim(self, template: str, number: int) -> str:
        return f"{template}-{self.name}-{number}"

    def owner_reference(self) -> dict[str, Any]:
        return {
            "apiVersion": names.API_VERSION,
            "kind": "ScaleSet",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


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
    _add_image(spec, container, build.image)
    _add_probe(container, (model.data.get("health") or {}).get("probe"))
    zones = model.data.get("zones") or ()
    zone = zone_name(number, zones)
    where = place(number, zones=len(zones), update_domains=model.data.get("updateDomains", UPDATE_DOMAINS))
    _add_place(spec, model.data.get("location"), zone)
    _add_claims(spec, owner, model, number)
    rendered = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": owner.instance(number),
            "namespace": owner.namespace,
            "labels": {
                **(user.get("labels") or {}),
                **_labels(owner, number),
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
    provisioning.add(rendered, model.data, container)
    return rendered


def claim(owner: Identity, template: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The claim of one data disk of one instance."""
    user: Mapping[str, Any] = template["metadata"]
    metadata: dict[str, Any] = {
        "name": owner.claim(str(user["name"]), number),
        "namespace": owner.namespace,
        "labels": {**(user.get("labels") or {}), **_labels(owner, number)},
    }
    if user.get("annotations"):
        metadata["annotations"] = dict(user["annotations"])
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
    labels = (model.template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": model.name,
            "namespace": owner.namespace,
            "labels": {**labels, names.LABEL_NAME: owner.name, names.LABEL_MANAGED_BY: names.MANAGED_BY},
            "ownerReferences": [owner.owner_reference()],
        },
        "revision": number,
        "data": model.data,
    }


def _labels(owner: Identity, number: int) -> dict[str, str]:
    return {
        names.LABEL_NAME: owner.name,
        names.LABEL_INSTANCE_ID: str(number),
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def build_labels(build: Build) -> dict[str, str]:
    """The labels that name the build of a pod."""
    return {names.LABEL_VERSION: build.version, names.LABEL_MODEL: build.model}


def previous_build(build: Build) -> str:
    """The annotation that names the previous build of a pod's instance."""
    return json.dumps({"model": build.model, "version": build.version, "image": build.image}, separators=(",", ":"))


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
