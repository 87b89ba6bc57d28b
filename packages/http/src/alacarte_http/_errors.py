"""Which answer an error becomes. The only place that maps errors to HTTP."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from alacarte.errors import (
    BackPressureError,
    ErrorCode,
    RemoteError,
    ReplicaUnavailableError,
    RequestError,
    request_code,
)

from ._head_codec import pack_response

__all__ = ["STATUS_BY_CODE", "Answer", "answer_to"]

TEXT = (b"content-type", b"text/plain; charset=utf-8")
STATUS_BY_CODE: Mapping[ErrorCode, int] = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.ALREADY_EXISTS: 409,
    ErrorCode.RESOURCE_EXHAUSTED: 429,
    ErrorCode.FAILED_PRECONDITION: 400,
    ErrorCode.ABORTED: 409,
    ErrorCode.UNIMPLEMENTED: 501,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.CANCELLED: 503,
    ErrorCode.INTERNAL: 500,
}
"""As google.rpc.Code maps them; but its 499 for a cancelled call is no status to send."""

_STATUSES = frozenset(int(status) for status in HTTPStatus)
_OF_THE_PROXY = frozenset((b"connection", b"content-length", b"transfer-encoding", b"x-request-id"))
_STATUS_BY_TYPE: Mapping[type[RequestError], int] = {
    BackPressureError: 503,  # the server is overloaded, whoever sends: no quota of the client's
}
"""Before the code of an error."""


class Answer(NamedTuple):
    """A short answer of the proxy's own."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def answer_to(error: BaseException) -> Answer:
    """Return the answer to a request that failed with `error`.

    The answer tells a client nothing internal, and nothing of user code's. An error of a plugin's
    own type may bring `status`, `headers` (a mapping, or pairs) and `retry_after_s`; values that no
    response can have are ignored.
    """
    if not isinstance(error, RequestError):
        return Answer(500, HTTPStatus(500).phrase)
    get = error.attributes.get if isinstance(error, RemoteError) else _getter(error)
    status = _own_status(get("status")) or _status(error)
    text = error.client_message or HTTPStatus(status).phrase
    return Answer(status, text, (*_own_headers(status, get("headers")), *_hints(error, get)))


def _getter(error: RequestError) -> Callable[[str], Any]:
    return lambda name: getattr(error, name, None)


def _status(error: RequestError) -> int:
    for kind, status in _STATUS_BY_TYPE.items():
        if isinstance(error, kind):
            return status
    return STATUS_BY_CODE.get(request_code(error), 500)


def _own_status(value: object) -> int | None:
    """Return the status that an error brings, None where that is no status of an error."""
    if isinstance(value, int) and 400 <= value <= 599 and value in _STATUSES:
        return int(value)
    return None


def _own_headers(status: int, value: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers that an error brings; none of them where one would break the response."""
    if not value:
        return []
    try:
        pairs = value.items() if isinstance(value, Mapping) else value
        headers = [(_bytes(name).lower(), _bytes(text)) for name, text in pairs]
        pack_response(status, headers)
    except Exception:  # of the plugin's making
        return []
    return [header for header in headers if header[0] not in _OF_THE_PROXY]


def _hints(error: RequestError, get: Callable[[str], Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a client whether, and when, to try again."""
    if isinstance(error, ReplicaUnavailableError):
        return [(b"retry-safe", b"no")]
    seconds = get("retry_after_s")
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        return [(b"retry-after", b"%d" % max(math.ceil(seconds), 0))]
    return []


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)
