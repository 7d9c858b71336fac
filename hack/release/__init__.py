"""A release: image, chart, plugin, manifests, bill of materials and digests; signed and pushed where asked for."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "scaleset-operator"
