"""Errors as one sentence that says what to do."""

import difflib
import re
from collections.abc import Iterable

from scaleset.api import names
from scaleset.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    NamespaceTerminating,
    NotFound,
    TooManyRequests,
    Unavailable,
)

FAILED = 1
"""Exit code of a failed command, and of a failed rollout."""
TIMED_OUT = 2
INTERRUPTED = 130

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class CliError(Exception):
    """Ends the command with a sentence on standard error; `code` is the exit code."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean "web"?`` for a similar name, else the existing names, else nothing. Begins with a space."""
    there = sorted(known)
    close = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    if close:
        return f' Did you mean "{close[0]}"?'
    if not there:
        return ""
    more = f" and {len(there) - 5} more" if len(there) > 5 else ""
    return f" There is {', '.join(there[:5])}{more}."


def explain(error: ApiError, *, server: str) -> str:
    """The sentence for an error of the API server at that URL, or for a missing answer."""
    if isinstance(error, Forbidden):
        return forbidden(error)
    if isinstance(error, Unavailable):
        return _unavailable(error, server)
    if isinstance(error, NotFound) or (isinstance(error, NamespaceTerminating) and error.status == 404):
        return _not_found(error)
    if isinstance(error, Conflict):
        return f"Somebody else changed it meanwhile ({error.message}): look at it and try again."
    if isinstance(error, TooManyRequests):
        return f"The API server at {server} is overloaded: try again in {error.retry_after or 1:g} s."
    return f"The API server refused: {_sentence(error.message)}"


def forbidden(error: ApiError) -> str:
    """The missing right: verb, resource and namespace."""
    found = _FORBIDDEN.search(error.message)
    if found is None:
        return f"The API server refused: {_sentence(error.message)}"
    resource = f"{found['resource']}.{found['group']}" if found["group"] else found["resource"]
    where = f"in namespace {found['namespace']}" if found["namespace"] else "in the whole cluster"
    return (
        f"{found['user']} may not {found['verb']} {resource} {where}: ask for a role with verb {found['verb']} on "
        f"{resource}."
    )


def _unavailable(error: ApiError, server: str) -> str:
    if error.status == 401:
        return (
            f"The API server at {server} does not accept your credentials: log in again, or choose another --context."
        )
    if error.status:
        return f"The API server at {server} answered {error.status}: {_sentence(error.message)} Try again later."
    return (
        f"No API server answers at {server} ({_cause(error.message)}): start the cluster, or choose another --context "
        "or --kubeconfig."
    )


def _cause(message: str) -> str:
    """The message of the operating system inside a library's error."""
    for words in (
        "Connection refused",
        "timed out",
        "Name or service not known",
        "Temporary failure in name resolution",
    ):
        if words in message:
            return words.lower()
    if "certificate verify failed" in message:
        return "its certificate is not signed by the certificate authority of the kubeconfig"
    return message[:200]


def not_served(error: ApiError) -> bool:
    """Whether the kind is missing and not just the object; a server that never had the group answers in the second
    form.
    """
    return "could not find the requested resource" in error.message or error.message.startswith("404 page not found")


def _not_found(error: ApiError) -> str:
    if not_served(error):
        return (
            f"This cluster does not serve {names.API_VERSION}: install the CRDs with kubectl apply -f crds/, or choose "
            "another --context."
        )
    return f"{_sentence(error.message)} Look at what there is with kubectl scaleset list."


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
