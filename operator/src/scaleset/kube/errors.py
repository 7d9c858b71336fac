"""Errors of calls to the API server, named by the reaction of the caller.

One distinction matters more than the status code: whether the outcome is known. After a 4xx nothing happened. After
`Unavailable` a write may have happened or not, or may still happen: the caller reads again before the next decision.
"""

# ruff: noqa: N818 - Kubernetes' own names; `except Conflict` is clear enough

import json
from typing import Any


class ApiError(Exception):
    """The API server refused a call, and nothing happened.

    `status` is the HTTP status (0 = there was no response), `reason` the server's one-word reason, `message` its
    sentence. `retry_after` is the number of seconds that the server asked to wait, or None.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class NotFound(ApiError):
    """The object does not exist (any more)."""


class Conflict(ApiError):
    """A precondition failed (uid or resourceVersion): the decision is outdated. Read again, decide again."""


class AlreadyExists(ApiError):
    """The name is taken. Read the object: it is from an earlier try, or it is foreign."""


class Gone(ApiError):
    """That resourceVersion or continue token is too old. List again from scratch."""


class Forbidden(ApiError):
    """The role, a quota or an admission plugin refuses the call. Somebody else has to change something first."""


class Invalid(ApiError):
    """The server does not accept the object. Sending it again is useless."""


class NamespaceTerminating(ApiError):
    """The namespace is being deleted, or is gone: no object can be created in it, and its objects go by themselves.
    This is not a refusal, and users need no message about it.
    """


class NotKept(ApiError):
    """The write was carried out, but the server dropped a part that its schema does not know. Work that needs this part
    must wait for newer CustomResourceDefinitions.
    """


class TooManyRequests(ApiError):
    """The server is protecting itself; try again after `retry_after` seconds."""


class Overloaded(TooManyRequests):
    """TooManyRequests from the server's flow control, before it handled the request: it applies to all requests of this
    client.
    """


class Unavailable(ApiError):
    """No usable answer: timeout, connection refused or cut, 5xx, or credentials not accepted even when read anew.

    The outcome of a write is unknown.
    """


def refuses(error: Exception) -> bool:
    """Whether the server has judged and refused the request: repeating it at once is useless. A failing webhook is a
    500 with a message of the server.
    """
    return isinstance(error, Forbidden | Invalid) or (isinstance(error, Unavailable) and error.status == 500)


class NotLeader(Exception):
    """This process does not hold the lease, so the write was not sent."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unavailable,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(status: dict[str, Any], *, code: int, retry_after: float | None = None) -> ApiError:
    """The error for a `Status` object; `code` is the fallback if the object has none."""
    code = int(status.get("code") or code)
    reason = str(status.get("reason") or f"HTTP{code}")
    message = str(status.get("message") or "the server gave no message")
    if retry_after is None:
        seconds = (status.get("details") or {}).get("retryAfterSeconds")
        retry_after = float(seconds) if seconds else None
    if reason == "AlreadyExists":
        return AlreadyExists(code, reason, message, retry_after=retry_after)
    if _of_a_namespace_that_ends(status, code):
        return NamespaceTerminating(code, reason, message)
    if reason in {"Expired", "Gone"}:
        return Gone(code, reason, message)
    kind = _BY_STATUS.get(code, Unavailable if code >= 500 else ApiError)
    if kind is TooManyRequests and retry_after is None:
        retry_after = 1.0
    return kind(code, reason, message, retry_after=retry_after)


def _of_a_namespace_that_ends(status: dict[str, Any], code: int) -> bool:
    """Whether the namespace is ending. A create is answered with 403 and this cause while the namespace exists, then
    with 404 for the namespace itself.
    """
    details = status.get("details") or {}
    causes = details.get("causes") or ()
    return (code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)) or (
        code == 404 and details.get("kind") == "namespaces"
    )


def from_response(code: int, body: bytes, retry_after: str | None) -> ApiError:
    """The error for an HTTP response of status 400 or above. A proxy's error page becomes a message of its first 200
    characters.
    """
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        message = body[:200].decode("utf-8", "replace").strip()
        # A refusal of this object alone, by a webhook or by the storage of its kind, is answered with a Status.
        if code == 429:
            return Overloaded(code, "HTTP429", message, retry_after=_seconds(retry_after) or 1.0)
        status = {"message": message}
    return from_status(status, code=code, retry_after=_seconds(retry_after))


def from_transport(error: BaseException, what: str) -> Unavailable:
    """The error for a call without a usable response; `what` describes the call."""
    return Unavailable(0, type(error).__name__, f"{what}: {error}" if str(error) else what)


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; an API server never sends its other form, a date."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
