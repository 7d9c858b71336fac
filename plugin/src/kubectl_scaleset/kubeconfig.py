"""The cluster, user and namespace that `kubectl` would use: kubeconfig files, merged as kubectl merges them.

The files are read here and not by the kubernetes package, whose import takes longer than most verbs.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubectl_scaleset.failures import CliError, did_you_mean

JSON = Mapping[str, Any]

DEFAULT = "~/.kube/config"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Fields with a path, which is relative to the file that it stands in."""


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster and how to reach it. `cluster` and `user` are as the kubeconfig has them, with absolute paths."""

    context: str
    namespace: str
    cluster: JSON = field(repr=False)
    user: JSON = field(repr=False)
    source: str = ""
    """The kubeconfig in a sentence."""

    @property
    def server(self) -> str:
        return str(self.cluster["server"]).rstrip("/")

    @property
    def impersonation(self) -> tuple[tuple[str, str], ...]:
        """Impersonation headers of the context's user."""
        return tuple(_impersonation(self.user))


def load(kubeconfig: str | None, context: str | None) -> Target:
    """The pod's own account if the process runs in a pod and nothing else is given, else a kubeconfig's. CliError if
    neither can be used.
    """
    paths = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT
    files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    there = [path for path in files if path.exists()]
    if not there and not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _in_cluster()
    if not there:
        raise CliError(f"Kubeconfig {paths} does not exist: name one with --kubeconfig or KUBECONFIG.")
    merged = _merged(there)
    wanted = context or merged.current
    if not wanted:
        known = f" There is {', '.join(merged.contexts)}." if merged.contexts else ""
        raise CliError(f"Kubeconfig {paths} has no current context: choose one with --context.{known}")
    if wanted not in merged.contexts:
        how = "" if context else " (its current-context)"
        raise CliError(f'Kubeconfig {paths} has no context "{wanted}"{how}.{did_you_mean(wanted, merged.contexts)}')
    chosen = merged.contexts[wanted]
    cluster = _named(merged.clusters, chosen, "cluster", context=wanted, paths=paths)
    user = _named(merged.users, chosen, "user", context=wanted, paths=paths) if chosen.get("user") else {}
    if not str(cluster.get("server") or "").startswith(("http://", "https://")):
        raise _unusable(paths, f'cluster "{chosen["cluster"]}" has no server with http:// or https://')
    return Target(wanted, str(chosen.get("namespace") or "default"), cluster, user, f"Kubeconfig {paths}")


def _named(known: Mapping[str, JSON], chosen: JSON, kind: str, *, context: str, paths: str) -> JSON:
    name = str(chosen.get(kind) or "")
    if name in known:
        return known[name]
    what = f'{kind} "{name}", which it does not have' if name else f"no {kind}"
    raise _unusable(paths, f'its context "{context}" names {what}')


def _in_cluster() -> Target:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    shown = f"[{host}]" if ":" in host else host
    cluster = {"server": f"https://{shown}:{port}", "certificate-authority": str(_ACCOUNT / "ca.crt")}
    user = {"tokenFile": str(_ACCOUNT / "token")}
    try:
        namespace = (_ACCOUNT / "namespace").read_text().strip()
    except OSError as error:
        raise CliError(f"The pod's service account cannot be read: {error.strerror}. Name a kubeconfig.") from error
    return Target("in-cluster", namespace, cluster, user, "The pod's service account")


@dataclass
class _Merged:
    """The content of all files; of two entries with one name the first counts."""

    current: str = ""
    contexts: dict[str, JSON] = field(default_factory=dict)
    clusters: dict[str, JSON] = field(default_factory=dict)
    users: dict[str, JSON] = field(default_factory=dict)


def _merged(files: list[Path]) -> _Merged:
    found = _Merged()
    for path in files:
        document = _document(path)
        found.current = found.current or str(document.get("current-context") or "")
        for kind, known in (("context", found.contexts), ("cluster", found.clusters), ("user", found.users)):
            for name, entry in _entries(path, document, kind):
                known.setdefault(name, _absolute(entry, path.parent))
    return found


def _document(path: Path) -> JSON:
    import yaml

    try:
        from yaml import CSafeLoader as SafeLoader
    except ImportError:  # PyYAML was built without libyaml
        from yaml import SafeLoader  # type: ignore[assignment]
    try:
        document = yaml.load(path.read_text(), Loader=SafeLoader)
    except OSError as error:
        raise _unusable(path, f"{error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise _unusable(path, f"it is not YAML{where}") from error
    if document is None:
        raise CliError(f"Kubeconfig {path} is empty: correct it, or name another.")
    if not isinstance(document, Mapping):
        raise _unusable(path, "it is no mapping with contexts, clusters and users")
    return document


def _entries(path: Path, document: JSON, kind: str) -> Iterator[tuple[str, JSON]]:
    listed = document.get(f"{kind}s") or []
    if not isinstance(listed, list):
        raise _unusable(path, f"its {kind}s are no list")
    for number, each in enumerate(listed, start=1):
        if not isinstance(each, Mapping) or not each.get("name"):
            raise _unusable(path, f"item {number} of its {kind}s has no name")
        entry = each.get(kind) or {}
        if not isinstance(entry, Mapping):
            raise _unusable(path, f'its {kind} "{each["name"]}" is no mapping')
        yield str(each["name"]), entry


def _absolute(entry: JSON, folder: Path) -> JSON:
    found = {**entry, **{key: str(folder / str(entry[key])) for key in _PATHS if entry.get(key)}}
    program = (entry.get("exec") or {}).get("command") if isinstance(entry.get("exec"), Mapping) else None
    if program and os.sep in str(program):
        found["exec"] = {**entry["exec"], "command": str(folder / str(program))}
    return found


def _unusable(paths: object, why: str) -> CliError:
    return CliError(f"Kubeconfig {paths} cannot be used: {why}. Correct it, or name another.")


def _impersonation(user: JSON) -> Iterator[tuple[str, str]]:
    if name := user.get("as"):
        yield "Impersonate-User", str(name)
    if uid := user.get("as-uid"):
        yield "Impersonate-Uid", str(uid)
    for group in user.get("as-groups") or []:
        yield "Impersonate-Group", str(group)
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)
