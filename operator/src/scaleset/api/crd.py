"""The three CRDs: `python -m scaleset.api.crd --output crds/` writes them, `--check` verifies that the files are up to
date.

Everything about a field is declared in the models. This module adds the parts of a CRD around the schemas: names,
columns, subresources, and the rule for metadata.name.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from scaleset.api import names
from scaleset.api.base import Spec, Status, cel
from scaleset.api.crd_schema import structural
from scaleset.api.gallery_image_version import GalleryImageVersionSpec, GalleryImageVersionStatus
from scaleset.api.identifiers import name_rules
from scaleset.api.scale_set import HIGHEST_ID_FITS, TOO_LONG_WITH_ID, ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec, UpgradePolicyStatus

HEADER: Final = "# Generated from operator/src/scaleset/api by `python -m scaleset.api.crd`. Do not edit.\n"
_READY: Final = '.status.conditions[?(@.type=="Ready")]'


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    description: str
    type: str = "string"

    def to_raw(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}


@dataclass(frozen=True)
class Kind:
    """A custom resource and how kubectl shows it."""

    kind: str
    plural: str
    short: str
    description: str
    spec: type[Spec]
    status: type[Status]
    columns: tuple[Column, ...]
    """The columns before the age."""
    wide: tuple[Column, ...]
    """The columns after it, with `-o wide` only."""
    longest_name: int
    dots_in_name: bool = False
    scale: bool = False
    rules: tuple[dict[str, str], ...] = ()
    """Rules about its name and spec together."""


_AGE: Final = Column("AGE", ".metadata.creationTimestamp", "Time since its creation.", "date")

SCALE_SET: Final = Kind(
    kind=names.SCALE_SET_KIND,
    plural=names.SCALE_SET_PLURAL,
    short=names.SCALE_SET_SHORT,
    description=(
        "Instances of one image, with stable names and disks, that are upgraded batch by batch while their health "
        "allows it."
    ),
    spec=ScaleSetSpec,
    status=ScaleSetStatus,
    columns=(
        Column("DESIRED", ".spec.replicas", "Desired number of instances.", "integer"),
        Column("HEALTHY", ".status.healthyReplicas", "Number of healthy instances.", "integer"),
        Column(
            "UPDATED",
            ".status.updatedReplicas",
            "Number of instances with the newest model and the right version.",
            "integer",
        ),
        Column("VERSION", ".status.versions", "Versions that the instances run, the most frequent first."),
        Column("TARGET", ".status.targetVersion", "The version that the spec means now."),
        Column("STATUS", f"{_READY}.reason", "The reason of condition Ready."),
    ),
    wide=(
        Column("BATCH", ".status.rollingUpgrade.batch.number", "Number of the batch.", "integer"),
        Column("LATEST", ".status.latestVersion", "The version that latest means now."),
        Column(
            "POLICY",
            ".spec['upgradePolicyRef','upgradePolicy']['name','mode']",
            "The UpgradePolicy, or the mode of a policy of the set's own.",
        ),
        Column("SELECTOR", ".status.selector", "Label selector of the pods."),
    ),
    longest_name=names.MAX_SCALE_SET_NAME,
    scale=True,
    rules=(cel(HIGHEST_ID_FITS, TOO_LONG_WITH_ID, at=".spec.ordinals"),),
)
UPGRADE_POLICY: Final = Kind(
    kind=names.UPGRADE_POLICY_KIND,
    plural=names.UPGRADE_POLICY_PLURAL,
    short=names.UPGRADE_POLICY_SHORT,
    description="How upgrades are carried out. ScaleSets of the same namespace refer to it by name.",
    spec=UpgradePolicySpec,
    status=UpgradePolicyStatus,
    columns=(
        Column("MODE", ".spec.mode", "How changes of the model reach existing instances."),
        Column("BATCH", ".spec.rollingUpgradePolicy.maxBatchInstancePercent", "Largest batch in percent.", "integer"),
        Column(
            "AUTO",
            ".spec.automaticOSUpgradePolicy.enableAutomaticOSUpgrade",
            "Whether upgrades start by themselves.",
            "boolean",
        ),
        Column("SETS", ".status.scaleSets", "Number of ScaleSets that refer to the policy.", "integer"),
    ),
    wide=(
        Column(
            "UNHEALTHY",
            ".spec.rollingUpgradePolicy.maxUnhealthyInstancePercent",
            "Limit of unhealthy instances in percent.",
            "integer",
        ),
        Column("TIMEOUT", ".spec.healthTimeout", "Longest time for an instance to become healthy."),
    ),
    longest_name=names.MAX_OTHER_NAME,
)
GALLERY_IMAGE_VERSION: Final = Kind(
    kind=names.GALLERY_IMAGE_VERSION_KIND,
    plural=names.GALLERY_IMAGE_VERSION_PLURAL,
    short=names.GALLERY_IMAGE_VERSION_SHORT,
    description=(
        "One published version of an image. ScaleSets that follow latest are upgraded to the numerically highest one."
    ),
    spec=GalleryImageVersionSpec,
    status=GalleryImageVersionStatus,
    columns=(
        Column("PUBLISHER", ".spec.publisher", "Publisher of the image definition."),
        Column("OFFER", ".spec.offer", "Offer of the image definition."),
        Column("SKU", ".spec.sku", "SKU of the image definition."),
        Column("VERSION", ".spec.version", "Version."),
        Column("IMAGE", ".spec.image", "Container image reference."),
        Column("READY", f"{_READY}.status", "Whether the version may be chosen."),
        Column(
            "EXCLUDED",
            ".spec.publishingProfile.excludeFromLatest",
            "Whether latest never means this version.",
            "boolean",
        ),
    ),
    wide=(
        Column(
            "REPLICATION", ".status.replicationStatus.aggregatedState", "State of the version over all its regions."
        ),
        Column(
            "END-OF-LIFE", ".spec.publishingProfile.endOfLifeDate", "After this time no upgrade to the version starts."
        ),
        Column("FAILED", ".status.failedScaleSets", "Number of ScaleSets in which the version failed.", "integer"),
        Column("SHARED", ".spec.sharing.scope", "Namespaces that may use the version."),
    ),
    longest_name=names.MAX_OTHER_NAME,
    dots_in_name=True,
)
KINDS: Final = (SCALE_SET, UPGRADE_POLICY, GALLERY_IMAGE_VERSION)


def generate() -> tuple[dict[str, Any], ...]:
    """All CRDs, in the order of KINDS."""
    return tuple(_definition(kind) for kind in KINDS)


def _definition(kind: Kind) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [
            *(column.to_raw() for column in (*kind.columns, _AGE)),
            *({**column.to_raw(), "priority": 1} for column in kind.wide),
        ],
        "schema": {"openAPIV3Schema": _root(kind)},
        "subresources": {"status": {}},
    }
    if kind.scale:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": [names.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _root(kind: Kind) -> dict[str, Any]:
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{names.API_VERSION}."},
            "kind": {"type": "string", "description": f"{kind.kind}."},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 253}},
            },
            "spec": structural(kind.spec),
            "status": structural(kind.status),
        },
        **name_rules(
            f"{'an' if kind.kind[0] in 'AEIOU' else 'a'} {kind.kind}",
            max_length=kind.longest_name,
            dots=kind.dots_in_name,
            others=kind.rules,
        ),
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - repeated parts are written out: kubectl users read this
        return True


def render(definition: dict[str, Any]) -> str:
    """The file for one CRD."""
    return HEADER + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


def file_name(definition: dict[str, Any]) -> str:
    """`scaleset.dev_<plural>.yaml`, as controller-gen names its files."""
    return f"{names.GROUP}_{definition['spec']['names']['plural']}.yaml"


def stale(folder: Path) -> list[str]:
    """Names of the files in `folder` that are missing or out of date."""
    found = []
    for definition in generate():
        path = folder / file_name(definition)
        if not path.is_file() or path.read_text(encoding="utf-8") != render(definition):
            found.append(path.name)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the CRDs."""
    parser = argparse.ArgumentParser(prog="python -m scaleset.api.crd", description="Writes the three CRDs.")
    parser.add_argument("--output", type=Path, default=Path("crds"), help="folder of the files (default: crds)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the files differ")
    options = parser.parse_args(arguments)
    if options.check:
        different = stale(options.output)
        if different:
            print(
                f"{', '.join(different)} in {options.output} differ from the models; run `python -m scaleset.api.crd`",
                file=sys.stderr,
            )
        return 1 if different else 0
    options.output.mkdir(parents=True, exist_ok=True)
    for definition in generate():
        path = options.output / file_name(definition)
        path.write_text(render(definition), encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
