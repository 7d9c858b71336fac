"""What the demo creates in its cluster: objects.yaml, and image versions."""

from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from hack.ended import NotPossibleError
from kubectl_scaleset.client import Client
from scaleset.kube.errors import NotFound, TooManyRequests
from scaleset.kube.resources import CRDS, Resource

from .place import ROOT

Json = dict[str, Any]

OBJECTS = Path(__file__).with_name("objects.yaml")
NAMESPACE = "default"
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
PATIENCE = 30


def install(client: Client) -> None:
    """Our custom resources."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            client.create(CRDS, NAMESPACE, body)


def create(client: Client, resource: Resource, body: Json) -> None:
    """One object. For a moment after a CRD was installed the API server does not serve it yet, or is too busy."""
    deadline = monotonic() + PATIENCE
    while True:
        try:
            client.create(resource, NAMESPACE, body, strict=True)
            return
        except (NotFound, TooManyRequests):
            if monotonic() > deadline:
                raise
        sleep(0.1)


def await_service_account(client: Client) -> None:
    """Pods are refused until the namespace has one."""
    deadline = monotonic() + PATIENCE
    while not client.list(SERVICE_ACCOUNTS, NAMESPACE)[0]:
        if monotonic() > deadline:
            raise NotPossibleError(f"The namespace had no service account within {PATIENCE} seconds.")
        sleep(0.1)


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
