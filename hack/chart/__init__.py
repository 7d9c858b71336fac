"""What is generated of the chart: CRD templates, values.schema.json, the table in its README, and the two
manifests of deploy/."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "scaleset-operator"
