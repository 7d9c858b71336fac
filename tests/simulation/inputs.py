"""What users and publishers write: a spec, a policy, a version, with defaults that suit most tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.gallery import Definition, GalleryVersion
from scaleset.planner.pod_builder import Identity

OWNER = Identity("shop", "web", "uid-web")
EPOCH = 1_800_000_000.0
DEFINITION = Definition("shop", "contoso", "web", "stable")


def spec(**changes: Any) -> ScaleSetSpec:
    """A valid spec; top-level fields may be replaced, in JSON names."""
    raw: dict[str, Any] = {
        "replicas": 10,
        "imageReference": {"publisher": "contoso", "offer": "web", "sku": "stable", "version": "latest"},
        "upgradePolicyRef": {"name": "careful"},
        # One update domain, so that batches go by id; tests of the order set their own.
        "updateDomains": 1,
        "template": {
            "spec": {"containers": [{"name": "app", "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}]}
        },
    }
    return ScaleSetSpec.model_validate({**raw, **changes})


def policy(
    *, mode: str = "Manual", automatic: bool = True, rolling: Mapping[str, Any] | None = None, **changes: Any
) -> UpgradePolicySpec:
    """A policy with automatic image upgrades on."""
    return UpgradePolicySpec.model_validate(
        {
            "mode": mode,
            "rollingUpgradePolicy": dict(rolling or {}),
            "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": automatic, **changes.pop("os", {})},
            **changes,
        }
    )


def version(number: str, *, suffix: str = "", name: str | None = None, **changes: Any) -> GalleryVersion:
    """A published version; `suffix` goes to the image tag and says how its pods behave: `-bad` never becomes ready."""
    image = f"example.com/web:{number}{suffix}"
    base = GalleryVersion(
        name=name or f"web-{number}", definition=DEFINITION, version=number, image=image, created=EPOCH
    )
    return replace(base, **changes)
