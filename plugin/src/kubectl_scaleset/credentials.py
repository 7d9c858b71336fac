"""What proves to the API server who asks: a token, a password or a client certificate, or the program that gets one."""

import base64
import binascii
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_scaleset.failures import CliError
from kubectl_scaleset.kubeconfig import Target

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """`authorization` is the header, empty without one; certificate and key are PEM."""

    authorization: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


def credentials(target: Target) -> Credentials:
    """Those of the target's user, read afresh. CliError if there are none to be had."""
    user = target.user
    own = Credentials(
        certificate=_content(target, user, "client-certificate"), key=_content(target, user, "client-key")
    )
    if token := _token(target, user):
        return Credentials(f"Bearer {token}", own.certificate, own.key)
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}".encode()
        return Credentials(f"Basic {base64.b64encode(pair).decode()}", own.certificate, own.key)
    if user.get("exec"):
        return _from_program(target, user["exec"], own)
    if user.get("auth-provider"):
        return Credentials(_from_provider(target), own.certificate, own.key)
    return own


def _token(target: Target, user: JSON) -> str:
    if user.get("tokenFile"):
        return _read(target, Path(user["tokenFile"])).decode(errors="replace").strip()
    return str(user.get("token") or "").strip()


def _content(target: Target, entry: JSON, key: str) -> bytes:
    """PEM of `key`, inline as `key`-data or in a file."""
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(str(data), validate=False)
        except (binascii.Error, ValueError) as error:
            raise CliError(f"{target.source} cannot be used: {key}-data is not base64. Correct it.") from error
    return _read(target, Path(entry[key])) if entry.get(key) else b""


def _read(target: Target, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{target.source} names {path}, which cannot be read: {error.strerror}.") from error


def tls(target: Target, mine: Credentials) -> ssl.SSLContext:
    """Whom to trust, and the client certificate."""
    authority = _content(target, target.cluster, "certificate-authority")
    try:
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        # kubectl accepts certificates that RFC 5280 is stricter about, so clusters have them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if target.cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if mine.certificate:
            with _files(mine.certificate, mine.key or mine.certificate) as (certificate, key):
                context.load_cert_chain(certificate, key)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise CliError(
            f"{target.source} cannot be used: a certificate or key in it makes no sense. Correct it."
        ) from error
    return context


@contextmanager
def _files(*contents: bytes) -> Iterator[list[str]]:
    """Files with that content for a moment: the ssl module reads certificates from nothing else."""
    with tempfile.TemporaryDirectory() as folder:  # only its owner may enter
        paths = [Path(folder) / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield [str(path) for path in paths]


def _from_program(target: Target, plugin: JSON, own: Credentials) -> Credentials:
    """Credentials from an exec plugin, as client-go asks for them."""
    program = str(plugin.get("command") or "")
    version = str(plugin.get("apiVersion") or "client.authentication.k8s.io/v1")
    asks = sys.stdin.isatty() and plugin.get("interactiveMode") != "Never"
    info: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": asks}}
    if plugin.get("provideClusterInfo"):
        info["spec"]["cluster"] = _told(target)
    added = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own kubeconfig names it
            [program, *map(str, plugin.get("args") or ())],
            env={**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=None if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
    except OSError as error:
        hint = f" {' '.join(str(plugin['installHint']).split())}" if plugin.get("installHint") else ""
        raise CliError(
            f"{target.source} logs in with {program}, which cannot be run: {error.strerror}.{hint}"
        ) from error
    if done.returncode != 0:
        raise CliError(f"{target.source} logs in with {program}, which failed with exit code {done.returncode}.")
    try:
        status = json.loads(done.stdout)["status"]
        token = str(status.get("token") or "").strip()
        certificate, key = str(status.get("clientCertificateData") or ""), str(status.get("clientKeyData") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CliError(f"{target.source} logs in with {program}, which printed no ExecCredential.") from error
    return Credentials(
        f"Bearer {token}" if token else "", certificate.encode() or own.certificate, key.encode() or own.key
    )


def _told(target: Target) -> JSON:
    """The cluster as an exec plugin is told of it."""
    cluster = target.cluster
    authority = _content(target, cluster, "certificate-authority")
    extensions = {each.get("name"): each.get("extension") for each in cluster.get("extensions") or ()}
    told = {
        "server": target.server,
        "certificate-authority-data": base64.b64encode(authority).decode() or None,
        "insecure-skip-tls-verify": cluster.get("insecure-skip-tls-verify"),
        "tls-server-name": cluster.get("tls-server-name"),
        "proxy-url": cluster.get("proxy-url"),
        "config": extensions.get("client.authentication.k8s.io/exec"),
    }
    return {key: value for key, value in told.items() if value is not None}


def _from_provider(target: Target) -> str:
    """The old way of logging in, which only the kubernetes package knows; its import is slow."""
    from kubernetes.client.configuration import Configuration
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.kube_config import KubeConfigLoader

    config = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": dict(target.cluster)}],
        "users": [{"name": "it", "user": dict(target.user)}],
    }
    configuration = Configuration()
    try:
        KubeConfigLoader(config_dict=config).load_and_set(configuration)
    except (ConfigException, KeyError, ValueError) as error:
        raise CliError(f"{target.source} cannot log in: {' '.join(str(error).split())[:300]}") from error
    return str(configuration.api_key.get("BearerToken") or "").strip()
