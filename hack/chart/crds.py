"""The CRDs as templates of the chart, so that `helm upgrade` upgrades them: files of a `crds/` folder it never does."""

import re

BEGIN = "{{- if .Values.crds.enabled }}\n"
END = "{{- end }}\n"
_METADATA = """\
metadata:
  labels:
    {{- include "scaleset-operator.labels" (list . "crds" .Values.crds.labels) | nindent 4 }}
  {{- with include "scaleset-operator.crdAnnotations" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
"""


def template(crd: str) -> str:
    """A file of crds/ as a template. ValueError if it has labels or annotations: they would be there twice."""
    heading = re.match(r"#[^\n]*\n", crd)
    body = crd[heading.end() :] if heading else crd
    head, found, rest = body.partition("\nmetadata:\n")
    if not found or not rest.startswith("  name: "):
        raise ValueError("expected a CRD whose metadata begins with its name")
    if re.match(r"  name: [^\n]*\n  \w", rest):
        raise ValueError("the CRD has metadata beside its name; hack/chart/crds.py has to merge it")
    escaped = re.sub(r"\{\{|\}\}", lambda braces: f"{{{{ `{braces[0]}` }}}}", rest)
    note = "{{/* Written by `make chart` from crds/; do not edit. */}}\n"
    return f"{note}{BEGIN}{head}\n{_METADATA}{escaped}{END}"
