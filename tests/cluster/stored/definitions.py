"""Our CustomResourceDefinitions in a cluster where those of the version before were."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import yaml

from tests.cluster.harness.api import CRDS, Api, Items, Json, Kind
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.scene import KINDS
from tests.cluster.stored import objects

OURS: Items = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]


class Definitions:
    """Our CustomResourceDefinitions in a cluster, and those of the version before.

    A `mark` becomes a field of the status: when the API server keeps it, it goes by the schema that bears it.
    """

    def __init__(self, api: Api, folder: Path) -> None:
        self._api, self._path = api, folder / "definitions.yaml"
        self._mark = ""

    def apply(self, definitions: Items, *, mark: str = "") -> None:
        """As `kubectl apply --server-side`."""
        self._path.write_text(yaml.safe_dump_all(_marked(each, mark) for each in definitions))
        self._api.apply_file(self._path)
        self._served(mark)

    def update(self, definitions: Items, *, mark: str = "") -> None:
        """As `kubectl replace`."""
        for body in definitions:
            there = self._api.get(CRDS, None, body["metadata"]["name"])
            self._api.replace(CRDS, None, {**there, "spec": _marked(body, mark)["spec"]})
        self._served(mark)

    def differences(self) -> Iterator[str]:
        """What is left of the definitions before where ours were applied over them."""
        for body in OURS:
            there = self._api.get(CRDS, None, body["metadata"]["name"])
            wanted = {**there, "spec": _marked(body, self._mark)["spec"]}
            if there["spec"] != self._api.replace(CRDS, None, wanted, dryRun="All")["spec"]:
                yield f"{body['metadata']['name']} is not ours after an apply"

    def _served(self, mark: str) -> None:
        """Waits until the API server goes by them: it learns of a new schema a moment later."""
        gone, self._mark = self._mark, mark
        deadline = monotonic() + 30
        for kind in KINDS.values():
            stored = self._api.list(kind)
            while stored and not self._goes_by(kind, stored[0]["metadata"], gone, mark):
                assert monotonic() < deadline, f"the API server does not go by the new schema of {kind.plural}"
                sleep(0.1)

    def _goes_by(self, kind: Kind, metadata: Json, gone: str, mark: str) -> bool:
        marks = {"status": {each: "here" for each in (gone, mark) if each}}
        answer = self._api.patch(
            kind, metadata["namespace"], metadata["name"], marks, subresource="status", dryRun="All"
        )
        return [each for each in (gone, mark) if each in answer["status"]] == [each for each in (mark,) if each]


def _marked(definition: Json, mark: str) -> Json:
    marked: Json = json.loads(json.dumps(definition))
    if mark:
        _status_of(marked)["properties"][mark] = {"type": "string"}
    return marked


def _status_of(definition: Json) -> Json:
    (version,) = definition["spec"]["versions"]
    status: Json = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    return status


def added_to_statuses() -> set[str]:
    """Fields of the status of a set that the definitions before do not have."""
    before, ours = ({*_paths(_status_of(_scale_sets(found)), "")} for found in (objects.definitions(), OURS))
    return ours - before


def _scale_sets(definitions: Items) -> Json:
    return next(each for each in definitions if each["spec"]["names"]["kind"] == "ScaleSet")


def _paths(schema: Json, path: str) -> Iterator[str]:
    yield path
    for name, part in (schema.get("properties") or {}).items():
        yield from _paths(part.get("items") or part, f"{path}.{name}")
