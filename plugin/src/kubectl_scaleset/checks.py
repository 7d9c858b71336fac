"""Checks of everything that the plugin and the operator need, with one finding for each requirement."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_scaleset.failures import explain
from kubectl_scaleset.leases import Holder, lease
from scaleset import __version__
from scaleset.api import crd, names
from scaleset.kube.errors import ApiError, Forbidden, NotFound
from scaleset.kube.resources import CRDS, Resource

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session

JSON = Mapping[str, Any]

SKEW_SECONDS = 5.0
NEEDED = (
    ("list", names.SCALE_SET_PLURAL, names.GROUP, "list, get, status"),
    ("watch", names.SCALE_SET_PLURAL, names.GROUP, "-w, --wait"),
    ("patch", names.SCALE_SET_PLURAL, names.GROUP, "all verbs that change a set"),
    ("list", names.GALLERY_IMAGE_VERSION_PLURAL, names.GROUP, "versions, plan"),
    ("create", names.GALLERY_IMAGE_VERSION_PLURAL, names.GROUP, "publish"),
    ("patch", names.GALLERY_IMAGE_VERSION_PLURAL, names.GROUP, "exclude, include, rollback --exclude"),
    ("list", names.UPGRADE_POLICY_PLURAL, names.GROUP, "plan"),
    ("patch", names.UPGRADE_POLICY_PLURAL, names.GROUP, "suspend and resume --policy"),
    ("list", "pods", "", "get, instances, plan"),
    ("get", "pods/log", "", "logs"),
    ("list", "controllerrevisions", "apps", "plan, undo, history --models"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is ok, note or failed. Only a failed finding keeps the system from working."""

    what: str
    state: str
    text: str


def findings(session: "Session") -> Iterator[Finding]:
    """All findings, in the order in which they depend on each other."""
    try:
        server = session.client.read("/version")
    except ApiError as error:
        yield Finding("API server", "failed", explain(error, server=session.server))
        return
    yield Finding("API server", "ok", f"Kubernetes {server.get('gitVersion')} at {session.server}")
    served = _served(session)
    yield served
    if served.state != "failed":
        yield _schemas(session)
    holder, trouble = lease(session.client, session.namespace)
    yield _operator(holder, trouble)
    if holder is not None and holder.alive:
        yield _versions(holder)
    yield from _rights(session)
    yield _clock(session)


def _served(session: "Session") -> Finding:
    try:
        found = session.client.read(f"/apis/{names.API_VERSION}")
    except NotFound:
        return Finding(
            "CRDs", "failed", f"{names.API_VERSION} is not served: install the CRDs with kubectl apply -f crds/."
        )
    plurals = {str(each["name"]) for each in found.get("resources") or ()}
    wanted = (names.SCALE_SET_PLURAL, names.UPGRADE_POLICY_PLURAL, names.GALLERY_IMAGE_VERSION_PLURAL)
    missing = [plural for plural in wanted if plural not in plurals]
    if missing:
        return Finding("CRDs", "failed", f"{', '.join(missing)} are not served: apply all of crds/.")
    return Finding("CRDs", "ok", f"{', '.join(wanted)} are served as {names.API_VERSION}")


def _schemas(session: "Session") -> Finding:
    """Whether the CRDs are those of this version."""
    different = []
    for wanted in crd.generate():
        name = wanted["metadata"]["name"]
        try:
            found = session.client.get(CRDS, None, name)
        except Forbidden as error:
            return Finding("CRD version", "note", f"not looked at: {explain(error, server=session.server)}")
        if not _within(wanted["spec"]["versions"], found["spec"]["versions"]):
            different.append(name)
    if different:
        return Finding(
            "CRD version",
            "failed",
            f"{', '.join(different)} differ from those of {__version__}: apply the crds/ of the operator's version, or "
            "use the plugin of that version.",
        )
    return Finding("CRD version", "ok", f"they are those of {__version__}")


def _within(wanted: object, found: object) -> bool:
    """Whether the wanted object is contained in the present one; the API server adds defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _within(value, found.get(key)) for key, value in wanted.items() if value not in (None, {}, [])
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(_within(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return wanted == found


def _operator(holder: Holder | None, trouble: str) -> Finding:
    if holder is None and trouble:
        return Finding("operator", "note", f"not known whether one runs: {trouble}")
    if holder is None:
        return Finding(
            "operator",
            "failed",
            f"no operator holds the Lease {names.LEASE_NAME}: start one. (With --no-leader-elect it holds none.)",
        )
    where = f"Lease {holder.namespace}/{names.LEASE_NAME}"
    if not holder.alive:
        last = "never renewed" if holder.renewed is None else f"last renewed {holder.renewed:.0f} s ago"
        who = f"held by {holder.identity}" if holder.identity else "given back"
        return Finding("operator", "failed", f"{where} was {who}, {last}: start the operator again.")
    return Finding("operator", "ok", f"{holder.identity} renewed {where} {holder.renewed or 0:.0f} s ago")


def _versions(holder: Holder) -> Finding:
    if skew := version_skew(holder.version):
        return Finding("versions", "note", skew)
    return Finding("versions", "ok", f"operator and plugin are {__version__}")


def version_skew(operator: str) -> str:
    """A sentence if plugin and operator do not match; they match if major and minor version are equal."""
    if not operator:
        return f"the operator does not say its version; the plugin is {__version__}."
    if operator.split(".")[:2] == __version__.split(".")[:2]:
        return ""
    return f"the operator is {operator} and the plugin {__version__}: use the plugin of the operator's version."


def _rights(session: "Session") -> Iterator[Finding]:
    missing = [
        (verb, plural, group, used) for verb, plural, group, used in NEEDED if not _may(session, verb, plural, group)
    ]
    if not missing:
        yield Finding("your rights", "ok", f"all verbs of the plugin work in namespace {session.namespace}")
    for verb, plural, group, used in missing:
        state = "failed" if (verb, plural) == ("list", names.SCALE_SET_PLURAL) else "note"
        resource = Resource(group, "", plural)
        yield Finding(
            "your rights", state, f"you may not {verb} {resource} in namespace {session.namespace} (for: {used})"
        )


def _may(session: "Session", verb: str, plural: str, group: str) -> bool:
    resource, _, part = plural.partition("/")
    attributes = {"namespace": session.namespace, "verb": verb, "group": group, "resource": resource}
    attributes |= {"subresource": part} if part else {}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = session.client.review(body, "selfsubjectaccessreviews")
    return bool((answer.get("status") or {}).get("allowed"))


def _clock(session: "Session") -> Finding:
    skew = session.client.skew or 0.0
    if abs(skew) <= SKEW_SECONDS:
        return Finding("clock", "ok", "this machine's clock agrees with the API server's")
    side = "ahead of" if skew > 0 else "behind"
    return Finding(
        "clock",
        "note",
        f"this machine's clock is {abs(skew):.0f} s {side} the API server's; nothing here depends on it, tokens may.",
    )
