"""Objects as text: copies of one object that differ in some words, and what an API server adds to each."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def uid(*parts: object) -> str:
    """A uid that depends on the parts alone."""
    text = digest(*parts)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def digest(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def managed(body: Json) -> Json:
    """The object with who wrote which field: the operator the spec, and somebody else the status."""
    spec = {key: value for key, value in body.items() if key not in ("status", "apiVersion", "kind")}
    at = body["metadata"]["creationTimestamp"]
    version = {"apiVersion": body.get("apiVersion", "v1"), "fieldsType": "FieldsV1", "time": at}
    entries = [{**version, "manager": "scaleset-operator", "operation": "Update", "fieldsV1": _fields(spec)}]
    if "status" in body:
        written = _fields({"status": body["status"]})
        entries.append(
            {**version, "manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": written}
        )
    return {**body, "metadata": {**body["metadata"], "managedFields": entries}}


def _fields(value: Any) -> Json:
    if isinstance(value, Mapping):
        return {f"f:{key}": _fields(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        keys = [next((key for key in ("uid", "name", "type", "ip") if key in item), "") for item in value]
        return {
            f"k:{json.dumps({key: item.get(key)})}": {".": {}, **_fields(item)}
            for key, item in zip(keys, value, strict=True)
        }
    return {}


@dataclass(frozen=True)
class Shape:
    """The text of an object in which names stand for those of each copy."""

    text: str
    words: re.Pattern[str]

    @classmethod
    def of(cls, body: Json, *words: str) -> "Shape":
        longest_first = sorted(words, key=len, reverse=True)
        return cls(
            json.dumps(managed(body), separators=(",", ":")), re.compile("|".join(map(re.escape, longest_first)))
        )

    def copy(self, values: Mapping[str, str]) -> str:
        return self.words.sub(lambda found: values[found[0]], self.text)
