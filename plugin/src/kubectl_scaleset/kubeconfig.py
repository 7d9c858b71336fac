"""The cluster, user and namespace that `kubectl` would use.

The kubernetes package reads the files and runs exec plugins. It reports a failing plugin only in a log line, which is
caught here and becomes the error.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubernetes.client.configuration import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger
from yaml import YAMLError

from kubectl_scaleset.failures import CliError, did_you_mean

DEFAULT = "~/.kube/config"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster and how to reach it."""

    configuration: Any
    context: str
    namespace: str
    impersonation: tuple[tuple[str, str], ...] = ()
    """Impersonation headers of the context's user."""


def load(kubeconfig: str | None, context: str | None) -> Target:
    """The pod's own account if the process runs in a pod and nothing else is given, else a kubeconfig's. CliError if
    neither can be used.
    """
    configuration = Configuration()
    # kubectl accepts certificates that RFC 5280 is stricter about, so clusters have them.
    configuration.disable_strict_ssl_verification = True
    paths = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT
    files = [path for path in paths.split(os.pathsep) if path and Path(path).expanduser().exists()]
    if not files and not kubeconfig and SERVICE_HOST_ENV_NAME in os.environ:
        load_incluster_config(client_configuration=configuration)
        return Target(configuration, "in-cluster", _NAMESPACE_FILE.read_text().strip())
    if not files:
        raise CliError(f"Kubeconfig {paths} does not exist: name one with --kubeconfig or KUBECONFIG.")
    try:
        merged = KubeConfigMerger(os.pathsep.join(files))
        wanted = context or merged.config.value.get("current-context")
        known = [entry.value["name"] for entry in merged.config["contexts"]]
        _check_context(context, wanted, known, paths)
        with _complaints():
            loader = KubeConfigLoader(
                config_dict=merged.config,
                active_context=wanted,
                config_base_path=None,  # relative paths are relative to the file that they are in
                config_persister=merged.save_changes,
            )
            loader.load_and_set(configuration)
        impersonation = tuple(_impersonation(loader))
    except (ConfigException, YAMLError, OSError, TypeError, AttributeError, KeyError, ValueError) as error:
        text = " ".join(str(error).split())
        raise CliError(
            f"Kubeconfig {paths} cannot be used: {text[:300].rstrip('.')}. Correct it, or name another."
        ) from error
    current = loader.current_context
    return Target(
        configuration, str(wanted), str((current.get("context") or {}).get("namespace") or "default"), impersonation
    )


def _impersonation(loader: KubeConfigLoader) -> Iterator[tuple[str, str]]:
    """Impersonation headers: the library ignores them, and would act with the user's own rights."""
    node = loader._user  # noqa: SLF001 - the library has no public access
    user: dict[str, Any] = (node.value if node is not None else None) or {}
    if name := user.get("as"):
        yield "Impersonate-User", str(name)
    if uid := user.get("as-uid"):
        yield "Impersonate-Uid", str(uid)
    for group in user.get("as-groups") or []:
        yield "Impersonate-Group", str(group)
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)


def _check_context(asked: str | None, wanted: str | None, known: list[str], paths: str) -> None:
    if not wanted:
        there = f" There is {', '.join(known)}." if known else ""
        raise CliError(f"Kubeconfig {paths} has no current context: choose one with --context.{there}")
    if wanted not in known:
        how = "" if asked else " (its current-context)"
        raise CliError(f'Kubeconfig {paths} has no context "{wanted}"{how}.{did_you_mean(wanted, known)}')


@contextmanager
def _complaints() -> Iterator[None]:
    """Raises a ConfigException for an error that is logged meanwhile, instead of printing it on the terminal."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    listener, root = Listener(), logging.getLogger()
    root.addHandler(listener)
    try:
        yield
    finally:
        root.removeHandler(listener)
    if said:
        raise ConfigException("; ".join(said))
