"""A custom resource as a record: the needed fields, with a parsed spec or the reason why it cannot be parsed; and which
pods are instances of a set.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from scaleset.api.base import InvalidSpec
from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.kube.resources import JSON, Key
from scaleset.planner.instances import Observed, Pod
from scaleset.planner.revisions import Revision
from scaleset.records.projections import instance_number, object_meta, plain, seconds

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class CustomObject(Observed, Generic[S]):
    """One custom resource. `spec` is None if it cannot be parsed; `problem` says why."""

    generation: int
    created: float
    deleting: bool
    annotations: Mapping[str, str]
    spec: S | None
    problem: str
    status: Mapping[str, Any] = field(repr=False)
    model: Revision | None = field(default=None, repr=False)
    """For a ScaleSet: the model of its spec."""


ScaleSetObject = CustomObject[ScaleSetSpec]
PolicyObject = CustomObject[UpgradePolicySpec]
VersionObject = CustomObject[GalleryImageVersionSpec]


class Projection(Generic[S]):
    """Parses the objects of a kind. The last parse of each spec is cached, since a status or an annotation changes no
    spec. The cache is not used for an object older than before: after a restore of etcd, the same generation may have
    another spec. The projection follows the store that it fills, so an entry is removed with its object.
    """

    def __init__(self, parse: Callable[[object], S], model: Callable[[str, S], Revision] | None = None) -> None:
        self._parse = parse
        self._model = model
        self._parsed: dict[str, tuple[int, int, tuple[S | None, str, Revision | None]]] = {}

    def __call__(self, raw: JSON) -> CustomObject[S]:
        metadata = raw["metadata"]
        uid, generation = metadata["uid"], int(metadata.get("generation") or 0)
        version = int(metadata["resourceVersion"])
        known = self._parsed.get(uid)
        if known is None or known[0] != generation or known[1] > version:
            known = (generation, version, self._understand(metadata["name"], raw))
        spec, problem, model = known[2]
        self._parsed[uid] = (generation, version, known[2])
        return CustomObject(
            **object_meta(metadata),
            generation=generation,
            created=seconds(metadata.get("creationTimestamp")) or 0.0,
            deleting=bool(metadata.get("deletionTimestamp")),
            annotations=metadata.get("annotations") or {},
            spec=spec,
            problem=problem,
            status=raw.get("status") or {},
            model=model,
        )

    def follow(self, _: Key, before: CustomObject[S] | None, after: CustomObject[S] | None, /) -> None:
        """Follow the store: an entry is removed with its object, however the store learned of the deletion."""
        if before is not None and (after is None or after.uid != before.uid):
            self._parsed.pop(before.uid, None)

    def _understand(self, name: str, raw: JSON) -> tuple[S | None, str, Revision | None]:
        try:
            spec = self._parse(raw)
        except InvalidSpec as error:
            return None, plain(str(error)), None
        return spec, "", self._model(name, spec) if self._model is not None else None


def owned(pods: Iterable[Pod], seen: ScaleSetObject) -> tuple[dict[int, Pod], dict[int, str]]:
    """Pods of a set by instance id, and a sentence for each foreign object that has one of its names."""
    mine: dict[int, Pod] = {}
    foreign_pods: dict[int, str] = {}
    for pod in pods:
        number = instance_number(seen.name, pod.name)
        if number is None:
            continue
        if pod.owner == seen.uid:
            mine[number] = pod
        else:
            foreign_pods[number] = not_ours(pod.name)
    return mine, foreign_pods


def not_ours(name: str) -> str:
    """The sentence about a pod that has the name of an instance and another owner."""
    return f"Pod {name} exists but does not belong to this ScaleSet. Delete it."
