"""The rules for Prometheus, once more as an object for the Prometheus Operator."""

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "deploy" / "prometheus" / "scaleset-rules.yaml"

RUNBOOKS: Final = "docs/runbooks"
"""What every `runbook_url` in the source begins with. Replace it by the address at which you serve that folder."""

HEAD: Final = """\
# Written by `make monitoring` from scaleset-rules.yaml; change that file instead.
# Prometheus selects its PrometheusRules by label, often `release: <name>`: add the one that yours asks for.
"""


def rules() -> dict[str, Any]:
    """The groups as they are in the source."""
    found: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    return found


def prometheus_rule() -> str:
    """The manifest."""
    body = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "scaleset-operator", "labels": {"app.kubernetes.io/name": "scaleset-operator"}},
        "spec": rules(),
    }
    return HEAD + yaml.dump(body, Dumper=_Readable, sort_keys=False, width=120, allow_unicode=True)


class _Readable(yaml.SafeDumper):
    """Expressions stay in lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)
