"""Puts the layers of the operator's package that the plugin takes into its wheel. An editable install has them."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OPERATOR = "../operator/src/scaleset"
LAYERS = ("__init__.py", "api", "kube", "planner", "preflight", "records")
"""The layers below the operator's process, by the import contract of the root's pyproject.toml."""


class WithLayers(BuildHookInterface):  # type: ignore[type-arg] # hatchling's own hooks say no more
    """Adds the layers to a wheel that is built to be installed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["../LICENSE"] = "kubectl_scaleset/LICENSE"
            build_data["force_include"] |= {f"{OPERATOR}/{layer}": f"scaleset/{layer}" for layer in LAYERS}
