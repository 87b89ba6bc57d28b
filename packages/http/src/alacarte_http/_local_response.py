"""Responses of the proxy itself. The only module that maps errors to HTTP statuses."""

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

__all__ = ["STATUS_BY_CODE", "LocalResponse", "error_response"]

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
"""The mapping of google.rpc.Code, except for CANCELLED: its 499 is not a status to send."""

_STATUSES = frozenset(int(status) for status in HTTPStatus)
_RESERVED_HEADERS = frozenset(
    (b"connection", b"content-length", b"transfer-encoding", b"x-request-id")
)
_STATUS_BY_TYPE: Mapping[type[RequestError], int] = {
    BackPressureError: 503,  # not 429: the server is overloaded, not the client's quota
}
"""Statuses that take precedence over the error's code."""


class LocalResponse(NamedTuple):
    """A response of the proxy itself (in Envoy, a local reply)."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def error_response(error: BaseException) -> LocalResponse:
    """Return the response to a request that failed with `error`.

    The response reveals nothing internal and nothing of user code. A plugin's own error type may
    have attributes `status`, `headers` (a mapping or pairs) and `retry_after_s`; invalid values are
    ignored.
    """
    if not isinstance(error, RequestError):
        return LocalResponse(500, HTTPStatus(500).phrase)
    get = error.attributes.get if isinstance(error, RemoteError) else _attribute_getter(error)
    status = _status_attribute(get("status")) or _mapped_status(error)
    text = error.client_message or HTTPStatus(status).phrase
    headers = (*_headers_attribute(status, get("headers")), *_retry_headers(error, get))
    return LocalResponse(status, text, headers)


def _attribute_getter(error: RequestError) -> Callable[[str], object]:
    return lambda name: getattr(error, name, None)


def _mapped_status(error: RequestError) -> int:
    for kind, status in _STATUS_BY_TYPE.items():
        if isinstance(error, kind):
            return status
    return STATUS_BY_CODE.get(request_code(error), 500)


def _status_attribute(value: object) -> int | None:
    """Return the value of an error's `status`, None if that is not the status of an error."""
    if isinstance(value, int) and 400 <= value <= 599 and value in _STATUSES:
        return int(value)
    return None


def _headers_attribute(status: int, value: Any) -> list[tuple[bytes, bytes]]:
    """Return the pairs of an error's `headers`, without any if a header is invalid."""
    if not value:
        return []
    try:
        pairs = value.items() if isinstance(value, Mapping) else value
        headers = [(_bytes(name).lower(), _bytes(text)) for name, text in pairs]
        pack_response(status, headers)
    except Exception:  # the value comes from a plugin
        return []
    return [header for header in headers if header[0] not in _RESERVED_HEADERS]


def _retry_headers(error: RequestError, get: Callable[[str], object]) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a client whether and when to retry."""
    if isinstance(error, ReplicaUnavailableError):
        return [(b"retry-safe", b"no")]
    seconds = get("retry_after_s")
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        return [(b"retry-after", b"%d" % max(math.ceil(seconds), 0))]
    return []


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)
