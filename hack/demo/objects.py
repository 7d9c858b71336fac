"""What the demo creates in its cluster: objects.yaml, and image versions."""

from pathlib import Path

import yaml

from .api import CRDS, Api, Json
from .place import ROOT

OBJECTS = Path(__file__).with_name("objects.yaml")


def install(api: Api) -> None:
    """Our custom resources."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            api.apply(CRDS, body)


def fleet() -> tuple[Json, Json]:
    """The policy and the set."""
    policy, scale_set = yaml.safe_load_all(OBJECTS.read_text())
    return policy, scale_set


def image(number: str, *, tag: str = "", offer: str = "web") -> Json:
    """A version of an image. The tag tells the simulated nodes how it behaves, see hack/cluster/stages.yaml."""
    reference = {"publisher": "example", "offer": offer, "sku": "stable", "version": number}
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "GalleryImageVersion",
        "metadata": {"name": f"{offer}-{number}"},
        "spec": {**reference, "image": f"example.com/{offer}:{tag or number}"},
    }
