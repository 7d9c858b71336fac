"""What is generated of the chart: CRD templates, values.schema.json, the table in its README, deploy/install.yaml."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "scaleset-operator"
