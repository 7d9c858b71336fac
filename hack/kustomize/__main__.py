"""`python -m hack.kustomize` writes our kinds into deploy/kustomize/openapi.json, from crds/; `--check` says whether
they are current. `--kubernetes FILE` also writes the kinds of Kubernetes anew, from the output of
`kubectl get --raw /openapi/v2`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from hack.kustomize.merge_keys import JSON, of_definition, of_kubernetes

ROOT: Final = Path(__file__).resolve().parents[2]
TARGET: Final = ROOT / "deploy" / "kustomize" / "openapi.json"


def stored() -> dict[str, JSON]:
    """The definitions of Kubernetes in the file. They are those of one API server, which a cluster test compares."""
    definitions: dict[str, JSON] = json.loads(TARGET.read_text(encoding="utf-8"))["definitions"]
    return {name: node for name, node in definitions.items() if name.startswith("io.k8s.")}


def document(kubernetes: Mapping[str, JSON]) -> str:
    """The whole file."""
    own: dict[str, JSON] = {}
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        own |= of_definition(yaml.safe_load(path.read_text(encoding="utf-8")), kubernetes)
    content: dict[str, Any] = {
        "swagger": "2.0",
        "info": {"title": "scaleset-operator", "version": "v1beta1"},
        "paths": {},
        "definitions": {**own, **kubernetes},
    }
    return json.dumps(content, indent=1) + "\n"


def main() -> None:
    command = argparse.ArgumentParser(prog="python -m hack.kustomize", description=__doc__)
    command.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is outdated")
    command.add_argument("--kubernetes", type=Path, help="the OpenAPI document of an API server")
    given = command.parse_args()
    kubernetes = of_kubernetes(json.loads(given.kubernetes.read_text("utf-8"))) if given.kubernetes else stored()
    text = document(kubernetes)
    if given.check:
        if TARGET.read_text(encoding="utf-8") != text:
            sys.exit(f"outdated: {TARGET.relative_to(ROOT)}. Run make kustomize.")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
