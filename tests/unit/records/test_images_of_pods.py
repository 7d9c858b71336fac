"""What a pod's status says about its images: what runs, and what cannot be started."""

from typing import Any

import pytest

from scaleset.planner.instances import Pod
from scaleset.records.projections import pod

JSON = dict[str, Any]
RUNNING = {"state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}
ID = f"example.com/web@sha256:{'a' * 64}"


def seen(*containers: JSON, init: JSON | None = None) -> Pod:
    """A pod with the containers app, log and, before them, migrate."""
    return pod(
        {
            "metadata": {"namespace": "a", "name": "web-0", "uid": "u", "resourceVersion": "7"},
            "spec": {
                "initContainers": [{"name": "migrate", "image": "web:1@sha256:0"}],
                "containers": [{"name": "app", "image": "web:1@sha256:0"}, {"name": "log", "image": "log:1"}],
            },
            "status": {"containerStatuses": list(containers), "initContainerStatuses": [init] if init else []},
        }
    )


def waits(reason: str, message: str = "", name: str = "app") -> JSON:
    return {"name": name, "imageID": "", "state": {"waiting": {"reason": reason, "message": message}}}


def test_only_what_runs_has_an_image_id():
    found = seen(
        {"name": "app", "imageID": ID, **RUNNING}, {**waits("CrashLoopBackOff", name="log"), "imageID": "log@x"}
    )
    assert found.image_ids == (("app", ID),)
    assert (found.image_id("app"), found.image_id(None), found.image_id("log"), found.image_id("x")) == (ID, ID, "", "")
    assert found.image_errors == ()


@pytest.mark.parametrize(
    ("container", "fails"),
    [
        (waits("ErrImagePull"), True),
        (waits("ImagePullBackOff"), True),
        (waits("InvalidImageName"), True),
        (waits("ContainerCreating"), False),
        (waits("CrashLoopBackOff", "back-off 10s"), False),
        (waits("CreateContainerError", "no match for platform in manifest: not found"), True),
        (
            {
                **waits("CrashLoopBackOff"),
                "lastState": {"terminated": {"exitCode": 255, "message": "exec /app: exec format error"}},
            },
            True,
        ),
        (
            {"name": "app", **RUNNING, "lastState": {"terminated": {"message": "exec format error"}}},
            False,
        ),
    ],
)
def test_what_cannot_be_started_because_of_its_image(container: JSON, fails: bool):
    assert seen(container).image_errors == (("web:1@sha256:0",) if fails else ())


def test_the_image_of_another_container_is_another_image():
    assert seen({"name": "app", **RUNNING}, waits("ErrImagePull", name="log")).image_errors == ("log:1",)


def test_an_init_container_counts():
    assert seen(init=waits("ErrImagePull", name="migrate")).image_errors == ("web:1@sha256:0",)
