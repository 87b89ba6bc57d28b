"""Calls of Python methods: the primitive of handles, for packages with callers of their own.

call = python_call("predict", (image,), {})
result = python_result(await runtime.service(deployment)(call))
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ._wire.codec import decode, encode
from .context import current_call
from .errors import ConfigError
from .types import Buffer, Call, Reply

__all__ = ["PYTHON", "new_request_id", "python_call", "python_result", "python_value"]

PYTHON = "python"
"""Name of the call protocol for Python values."""

_ID_DIGITS = 32
_NUM_IDS = 64
_random = random.Random()
_ids: list[str] = []


def new_request_id() -> str:
    """Return a request id: 32 hexadecimal digits, unique but not secret."""
    while True:
        try:
            return _ids.pop()
        except IndexError:  # drawing ids in bulk takes half the time
            digits = _random.randbytes(_NUM_IDS * _ID_DIGITS // 2).hex()
            _ids.extend([digits[i : i + _ID_DIGITS] for i in range(0, len(digits), _ID_DIGITS)])


def python_call(
    method: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    streaming: bool = False,
    timeout_s: float | None = None,
    model_id: str = "",
    routing_key: str = "",
    request_id: str = "",
    bypass_limit: bool = False,
    idempotent: bool = False,
) -> Call:
    """Return a call of `method` with Python values, in the context of the current request.

    Inside a request, the call inherits the request's id, application, route, identity and deadline.

    Args:
        timeout_s: Seconds until the reply must begin, at most the current request's remaining time.
        request_id: Id of a call that was delayed before its creation; by default the current
            request's id, or a new id.
        bypass_limit: Whether a replica at `max_ongoing_requests` accepts the call.
        idempotent: Whether the call may run more than once: it is retried when its replica is lost.

    Raises:
        ConfigError: An argument cannot be pickled; the message names the argument.
    """
    payload = _encode_arguments(method, tuple(args), dict(kwargs))
    parent = current_call.get()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    if parent is None:
        request_id, app, route = request_id or new_request_id(), "", ""
        identity = None
    else:
        request_id, app, route = request_id or parent.request_id, parent.app, parent.route
        identity = parent.identity
        if parent.deadline is not None and (deadline is None or parent.deadline < deadline):
            deadline, timeout_s = parent.deadline, parent.timeout_s
    return Call(
        PYTHON,
        payload,
        method,
        None,
        streaming,
        request_id,
        app,
        route,
        model_id,
        routing_key,
        deadline,
        timeout_s,
        bypass_limit,
        idempotent,
        identity=identity,
    )


def python_result(reply: Reply) -> Any:
    """Return the value of a reply without a stream."""
    return decode(reply.payload[0])


def python_value(message: Buffer) -> Any:
    """Return the value of one message of a streaming reply."""
    return decode(message)


def _encode_arguments(
    method: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> list[Buffer]:
    try:
        return encode((args, kwargs))
    except ConfigError as error:
        named = [(f"argument {number}", value) for number, value in enumerate(args, start=1)]
        named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
        for name, value in named:
            try:
                encode(value)
            except ConfigError as reason:
                raise ConfigError(
                    f"{method}(): {name} cannot be sent: {reason}. Pass picklable values, and "
                    "create the object in the method."
                ) from error
        raise
