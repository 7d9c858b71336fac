"""`python -m hack.chart` writes what is generated of the chart, `--check` tells what is not current."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from hack.chart import CHART, ROOT
from hack.chart.crds import template
from hack.chart.description import description
from hack.chart.manifest import definitions, helm, manifest
from hack.chart.readme import readme
from hack.chart.schema import schema
from hack.chart.values import read


def generated() -> Iterator[tuple[Path, str]]:
    """Every file with what belongs into it; the manifest comes last, since it is rendered from the others."""
    values = read(CHART / "values.yaml")
    yield CHART / "values.schema.json", schema(values)
    yield CHART / "README.md", readme((CHART / "README.md").read_text(encoding="utf-8"), values)
    crds = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "crds").glob("*.yaml"))}
    for name, text in crds.items():
        yield CHART / "templates" / "crds" / name, template(text)
    samples = sorted((ROOT / "deploy" / "samples" / "quickstart").glob("0*.yaml"))
    yield (
        CHART / "Chart.yaml",
        description(
            (CHART / "Chart.yaml").read_text(encoding="utf-8"),
            icon=(CHART / "icon.svg").read_bytes(),
            crds=crds.values(),
            examples=[path.read_text(encoding="utf-8") for path in samples],
        ),
    )
    yield ROOT / "deploy" / "crds.yaml", definitions(crds.values())
    yield ROOT / "deploy" / "install.yaml", manifest(helm(), CHART)


def main() -> None:
    """Exit code 1 if --check finds a file that is not current."""
    parser = argparse.ArgumentParser(prog="python -m hack.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for path, text in generated():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {stale[-1]}")
    if check and stale:
        sys.exit(f"Not current: {', '.join(stale)}. Run `make chart` and commit what it writes.")


if __name__ == "__main__":
    main()
