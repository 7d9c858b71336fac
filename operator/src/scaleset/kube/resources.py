"""Objects and their names: JSON, keys, and the URL paths of kinds.

Only this module puts names into a URL. An empty name would turn an object's URL into the URL of its collection: a
DELETE of everything. So every part is checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

JSON = dict[str, Any]
"""An object as the API server sends it, or a part of one."""
Key = tuple[str, str]
"""Namespace and name of an object. Also what objects are grouped by, such as the set that they belong to."""
Wake = Callable[[Key], None]
"""Called with a key that has to be looked at again."""

_SEGMENT = re.compile(r"[a-z0-9A-Z]([-a-z0-9A-Z._:]{0,251}[a-z0-9A-Z])?")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object as the API server's URLs name it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def collection(self, namespace: str | None) -> str:
        """Path of the objects of one namespace, or of all of them for None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is None or not self.namespaced:
            return f"{root}/{self.plural}"
        return f"{root}/namespaces/{_segment(namespace)}/{self.plural}"

    def item(self, namespace: str | None, name: str) -> str:
        """Path of one object. ValueError if its name or namespace cannot be one."""
        if self.namespaced and namespace is None:
            raise ValueError(f"{self} {name!r} needs a namespace")
        return f"{self.collection(namespace)}/{_segment(name)}"


def _segment(value: str) -> str:
    if not _SEGMENT.fullmatch(value):
        raise ValueError(f"expected the name of an object, found {value[:80]!r}")
    return value


PODS: Final = Resource("", "v1", "pods")
CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims")
REVISIONS: Final = Resource("apps", "v1", "controllerrevisions")
QUOTAS: Final = Resource("", "v1", "resourcequotas")
NODES: Final = Resource("", "v1", "nodes", namespaced=False)
EVENTS: Final = Resource("events.k8s.io", "v1", "events")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
