"""Cache keys and cacheable answers of calls."""

from __future__ import annotations

from collections.abc import Hashable

from alacarte.types import Call, Reply
from alacarte_http.message import HTTP, read_request, read_response, write_reply

__all__ = ["answer_of", "question_of"]

_PERSONAL = ("authorization", "cookie")
_UNSHARED = ("no-store", "private", "no-cache")


def question_of(call: Call) -> Hashable | None:
    """Return the cache key of a call, None for a call that must not be cached.

    The key includes the caller's identity, so no caller gets another caller's answer.
    """
    if call.body is not None or (call.streaming and call.protocol != HTTP):
        return None
    who = None if call.identity is None else call.identity.encode()
    if call.protocol == "python":
        arguments = b"".join(call.payload)
        return ("python", call.method, arguments, call.model_id, who)
    if call.protocol != HTTP:
        return None
    request = read_request(call)
    if request.method != "GET" or any(request.header(name) for name in _PERSONAL):
        return None
    if "no-cache" in (request.header("cache-control") or ""):
        return None
    accept = request.header("accept")
    return ("http", request.raw_path, request.query, accept, call.model_id, who)


def answer_of(call: Call, reply: Reply) -> bytes | None:
    """Return the cacheable answer as the bytes of a reply; None for a reply not to be cached."""
    if reply.rest is not None:
        return None
    if call.protocol == "python":
        return b"".join(reply.payload)
    response = read_response(call, reply)
    if response.status != 200 or response.header("set-cookie") or response.header("vary"):
        return None
    control = response.header("cache-control") or ""
    if any(word in control for word in _UNSHARED):
        return None
    return b"".join(write_reply(call, response.with_headers({"X-Answer-Cache": "hit"})).payload)
