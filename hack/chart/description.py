"""What a catalogue of charts shows of ours: the end of Chart.yaml, with the icon and Artifact Hub's annotations.

The annotations are YAML texts within YAML. What changes with each release (changes, prerelease, signKey) is written by
hack/release when it packages.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

MARK = "# What follows is written by `make chart`, from icon.svg, crds/ and deploy/samples/.\n"
_DISPLAY = {
    "ScaleSet": "Scale set",
    "UpgradePolicy": "Upgrade policy",
    "GalleryImageVersion": "Gallery image version",
}
_ABOUT = {
    "ScaleSet": "Pods with stable names and volumes that follow an image definition.",
    "UpgradePolicy": "How upgrades are carried out: batches, health limits, pauses, timeouts.",
    "GalleryImageVersion": "A published version of an image, with regions, exclusion and end of life.",
}


def description(text: str, *, icon: bytes, crds: Iterable[str], examples: Iterable[str]) -> str:
    """Chart.yaml with its end written anew. ValueError if the mark that it begins at is missing."""
    head, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"Chart.yaml needs the line {MARK.strip()!r}; what is generated goes below it")
    chart: Mapping[str, Any] = yaml.safe_load(head)
    end = {
        "icon": f"data:image/svg+xml;base64,{base64.b64encode(icon.strip()).decode()}",
        "annotations": annotations(chart, [yaml.safe_load(each) for each in crds], list(examples)),
    }
    return head + mark + yaml.dump(end, Dumper=_Blocks, sort_keys=False, width=10_000, allow_unicode=True)


def annotations(chart: Mapping[str, Any], crds: list[dict[str, Any]], examples: list[str]) -> dict[str, str]:
    """Artifact Hub's, but those that belong to one release."""
    home, app = str(chart["home"]).rstrip("/"), chart["appVersion"]
    objects = [found for each in examples for found in yaml.safe_load_all(each)]
    kinds = {each["spec"]["names"]["kind"] for each in crds}
    return {
        "artifacthub.io/license": "Apache-2.0",
        "artifacthub.io/operator": "true",
        "artifacthub.io/category": "integration-delivery",
        "artifacthub.io/images": _text([{"name": chart["name"], "image": f"{chart['name']}:{app}"}]),
        "artifacthub.io/crds": _text([_crd(each) for each in crds]),
        "artifacthub.io/crdsExamples": _text([each for each in objects if each["kind"] in kinds]),
        "artifacthub.io/links": _text(
            [
                {"name": "Upgrade notes", "url": f"{home}/upgrade.html"},
                {"name": "Runbooks", "url": f"{home}/runbooks/README.html"},
            ]
        ),
    }


def _crd(body: dict[str, Any]) -> dict[str, str]:
    kind = body["spec"]["names"]["kind"]
    return {
        "kind": kind,
        "version": body["spec"]["versions"][0]["name"],
        "name": body["metadata"]["name"],
        "displayName": _DISPLAY[kind],
        "description": _ABOUT[kind],
    }


def _text(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=10_000, allow_unicode=True)


class _Blocks(yaml.SafeDumper):
    """Texts of several lines stay in lines."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _block)
