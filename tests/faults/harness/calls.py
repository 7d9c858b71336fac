"""One request of the operator as a test talks of it: which verb, on which object, and whether it would change it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A request to the API server; no two are the same."""

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @classmethod
    def of(cls, method: str, path: str, *, query: str, headers: dict[str, str], body: bytes) -> "Call":
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if len(parts) > 2 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = (*parts, "", "", "")[:3]
        if method == "POST" and not name:
            name = str((_json(body).get("metadata") or {}).get("name", ""))
        return cls(method, path, query, headers, body, resource, namespace, name, subresource)

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query))

    @property
    def verb(self) -> str:
        """As RBAC calls it: get, list, watch, create, update, patch or delete."""
        if self.method == "GET":
            return "watch" if self.parameters.get("watch") == "true" else "get" if self.name else "list"
        return VERBS.get(self.method, self.method.lower())

    @property
    def dry_run(self) -> bool:
        return self.parameters.get("dryRun") == "All"

    @property
    def writes(self) -> bool:
        """Whether it would change anything but a lease."""
        return self.method != "GET" and not self.dry_run and self.resource != "leases"

    def __str__(self) -> str:
        what = "/".join(filter(None, (self.resource, self.subresource)))
        return f"{self.verb} {what} {self.name}".strip() + (" (dry run)" if self.dry_run else "")


On = Callable[[Call], bool]


def calls(resource: str = "", *verbs: str, subresource: str | None = None) -> On:
    """Requests of these verbs (all, if none is named) about that resource; dry runs are not among them."""

    def on(call: Call) -> bool:
        return (
            resource in ("", call.resource)
            and (not verbs or call.verb in verbs)
            and (subresource is None or call.subresource == subresource)
            and not call.dry_run
        )

    return on


def writes(call: Call) -> bool:
    """Every write but those of the lease."""
    return call.writes


def watches(call: Call) -> bool:
    return call.verb == "watch"


def everything(_: Call) -> bool:
    return True


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
