"""`python -m hack.monitoring [--check]`: writes the generated files, or says which ones are not as they should be."""

import argparse
import sys
from pathlib import Path
from typing import Final

from hack.monitoring.dashboard import dashboard
from hack.monitoring.rules import ROOT, SOURCE, prometheus_rule

DEPLOY: Final = ROOT / "deploy"
CHART: Final = ROOT / "charts" / "scaleset-operator" / "files"


def generated() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    grafana = dashboard()
    return {
        DEPLOY / "prometheus" / "prometheusrule.yaml": prometheus_rule(),
        DEPLOY / "grafana" / "scaleset-operator.json": grafana,
        CHART / "scaleset-rules.yaml": SOURCE.read_text(),
        CHART / "dashboards" / "scaleset-operator.json": grafana,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of date")
    if not parser.parse_args().check:
        for path, text in generated().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return 0
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    ]
    if stale:
        print(f"Out of date: {', '.join(stale)}. Run `make monitoring` and commit what it writes.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
