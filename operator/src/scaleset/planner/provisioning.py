"""Custom data and extensions, which a new pod runs before its containers.

Both are init containers, so they run again in every new pod, and the instance is healthy only after they have finished.
Custom data travels in an annotation of the pod and is mounted from there (downward API): it needs no Secret and no
ConfigMap, and cannot differ from the model. All these containers share /var/lib/scaleset with the instance container.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from scaleset.api import names
from scaleset.api.extensions import MAX_CUSTOM_DATA

JSON = dict[str, Any]

SHARED = "/var/lib/scaleset"
CUSTOM_DATA = f"{SHARED}/custom-data"
_SHARED_VOLUME = "scaleset-shared"
_CUSTOM_DATA_VOLUME = "scaleset-custom-data"
_INHERITED = ("securityContext", "resources", "imagePullPolicy")

# A failure is recorded and not passed on. $0 is the command, $@ its arguments.
_NEVER_FAILS = '"$0" "$@"; code=$?; [ "$code" = 0 ] || echo "exit code $code" >/dev/termination-log; exit 0'


def text(custom_data: str) -> str:
    """The custom data itself: decoded if it is base64 of text, else as it stands. ValueError when it is too large."""
    plain = _decoded(custom_data)
    if len(plain.encode()) > MAX_CUSTOM_DATA:
        raise ValueError(f"spec.customData has {len(plain.encode())} bytes. Make it at most {MAX_CUSTOM_DATA}.")
    return plain


def _decoded(custom_data: str) -> str:
    """Custom data that decodes strictly to text is base64. A short word may be both; a line break at its end marks it
    as plain text.
    """
    if any(sign.isspace() for sign in custom_data.strip()) and "\n" not in custom_data.strip():
        return custom_data
    try:
        return base64.b64decode("".join(custom_data.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return custom_data


def order(extensions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The extensions in the order in which they run: as listed, but each after the extensions that it depends on.

    ValueError names an extension that is listed twice or unknown, or extensions that depend on one another.
    """
    names_listed = [extension["name"] for extension in extensions]
    twice = next((name for name in names_listed if names_listed.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"extension {twice} is listed twice")
    known = set(names_listed)
    for extension in extensions:
        for name in extension.get("provisionAfterExtensions") or ():
            if name not in known:
                raise ValueError(f"extension {extension['name']} waits for {name}, which does not exist")
    done: list[Mapping[str, Any]] = []
    through: set[str] = set()
    left = list(extensions)
    while left:
        ready = next((e for e in left if through.issuperset(e.get("provisionAfterExtensions") or ())), None)
        if ready is None:
            raise ValueError(f"extensions wait for one another: {' -> '.join(_cycle(left))}")
        left.remove(ready)
        done.append(ready)
        through.add(ready["name"])
    return done


def _cycle(extensions: Sequence[Mapping[str, Any]]) -> list[str]:
    """One cycle among extensions that each depend on another one of them."""
    waits = {e["name"]: e["provisionAfterExtensions"] for e in extensions}
    path = [extensions[0]["name"]]
    while True:
        following = next(name for name in waits[path[-1]] if name in waits)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def add(pod: JSON, model: Mapping[str, Any], container: JSON) -> None:
    """Add the provisioning to a pod that is being built; `container` is its instance container, with its image."""
    data, extensions = model.get("customData"), model.get("extensions") or ()
    if not data and not extensions:
        return
    spec = pod["spec"]
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": _SHARED_VOLUME, "emptyDir": {}}]
    first: list[JSON] = []
    if data:
        pod["metadata"]["annotations"][names.ANNOTATION_CUSTOM_DATA] = text(data)
        spec["volumes"].append(_custom_data_volume())
        for other in (*(spec.get("initContainers") or ()), *spec["containers"]):
            _mount(other, {"name": _CUSTOM_DATA_VOLUME, "mountPath": CUSTOM_DATA, "subPath": "custom-data"})
        if model.get("runCustomData"):
            first.append(_custom_data_container(container))
    first += [_extension_container(extension, container, data=bool(data)) for extension in order(extensions)]
    _mount(container, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    if first:
        spec["initContainers"] = [*first, *(spec.get("initContainers") or ())]


def _mount(container: JSON, mount: JSON) -> None:
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _custom_data_volume() -> JSON:
    field = {"fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_CUSTOM_DATA}']"}}
    return {
        "name": _CUSTOM_DATA_VOLUME,
        "downwardAPI": {"defaultMode": 0o755, "items": [{"path": "custom-data", **field}]},
    }


def _custom_data_container(container: JSON) -> JSON:
    """The custom data container: it runs the instance image with everything that the instance container sees."""
    own = {key: container[key] for key in ("env", "envFrom", "volumeMounts", *_INHERITED) if key in container}
    runner = {
        **own,
        "name": names.CONTAINER_CUSTOM_DATA,
        "image": container["image"],
        "command": ["/bin/sh", "-c", _NEVER_FAILS, CUSTOM_DATA],
    }
    _mount(runner, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    return runner


def _extension_container(extension: Mapping[str, Any], container: JSON, *, data: bool) -> JSON:
    """The container of one extension. The end of its log becomes the instance's error."""
    env = list(extension.get("env") or ())
    if extension.get("settings") is not None:
        settings = json.dumps(extension["settings"], sort_keys=True, separators=(",", ":"))
        # The kubelet expands $(NAME) in the value of a variable and reads $$ as one $.
        env.append({"name": "SCALESET_EXTENSION_SETTINGS", "value": settings.replace("$", "$$")})
    if secret := extension.get("protectedSettingsSecretRef"):
        source = {"secretKeyRef": {"name": secret["name"], "key": secret.get("key", "settings")}}
        env.append({"name": "SCALESET_EXTENSION_PROTECTED_SETTINGS", "valueFrom": source})
    rendered: JSON = {
        **{key: container[key] for key in _INHERITED if key in container},
        "name": f"{names.CONTAINER_EXTENSION}{extension['name']}",
        "image": extension["image"],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(extension.get("volumeMounts") or ()),
    }
    if env:
        rendered["env"] = env
    command, args = list(extension.get("command") or ()), list(extension.get("args") or ())
    if extension.get("suppressFailures"):
        rendered["command"] = ["/bin/sh", "-c", _NEVER_FAILS, *command, *args]
    else:
        rendered |= {key: value for key, value in (("command", command), ("args", args)) if value}
    if data:
        _mount(rendered, {"name": _CUSTOM_DATA_VOLUME, "mountPath": CUSTOM_DATA, "subPath": "custom-data"})
    _mount(rendered, {"name": _SHARED_VOLUME, "mountPath": SHARED})
    return rendered
