"""CustomResourceDefinitions: lax ones, and those that Kubernetes 1.34 forgets to finish deleting.

Its finalizer (crd_finalizer.go of apiextensions-apiserver 0.34.4) lists the objects first. Where the storage of a
definition that was just made is not ready ("storage is (re)initializing"), it notes that in the status and tries
again. If it does not see its own note yet, that is a conflict; then it waits for a change, and its own note is none
to it. Any other change makes it go on; without one the definition, and whoever waits for its end, hangs for minutes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3.exceptions import HTTPError

from .api import CRDS, Api, ApiError, Json


@contextmanager
def finishing_deletions(api: Api) -> Iterator[None]:
    """Inside, definitions whose deletion is forgotten are changed, so that it goes on."""
    ended = threading.Event()

    def look() -> None:
        times = 0
        while not ended.wait(1):
            with suppress(ApiError, HTTPError):  # gone at last, or the API server is not there just now
                for each in filter(_forgotten, api.list(CRDS)):
                    times += 1
                    metadata = {"annotations": {"scaleset-tests/go-on": str(times)}}
                    api.patch(CRDS, None, each["metadata"]["name"], {"metadata": metadata})

    thread = threading.Thread(target=look, name="finishing-deletions")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def check_nothing(api: Api) -> None:
    """From now on our definitions check nothing, as if objects were stored under an older, laxer schema."""
    preserve = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": preserve, "status": preserve}}}
    for crd in api.list(CRDS):
        if crd["metadata"]["name"].endswith(".scaleset.dev"):
            versions = [{**version, "schema": schema} for version in crd["spec"]["versions"]]
            api.patch(CRDS, None, crd["metadata"]["name"], {"spec": {"versions": versions}})


def _forgotten(definition: Json) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return "deletionTimestamp" in definition["metadata"] and any(
        each["type"] == "Terminating" and each["reason"] == "InstanceDeletionFailed" for each in conditions
    )
