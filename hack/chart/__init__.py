"""What is generated of the chart: CRD templates, values.schema.json, the table in its README, the end of Chart.yaml,
and the two manifests of deploy/.

Why not helm-docs and helm-values-schema-json: they want two kinds of comments for a value where one does here, and the
second cannot say what a list's items look like beyond their type, which a sixth of our bounds do (patterns, keys that
are required, no others).
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "scaleset-operator"
