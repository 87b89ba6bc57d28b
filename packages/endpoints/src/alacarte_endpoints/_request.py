"""Requests of handles for backends, which read as Starlette's `Request`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alacarte.errors import ServeError

from ._callable import CALL

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Arguments", "ServeRequest", "called_method"]

_HEADER = b"x-serve-call-method"


class Arguments(dict[str, Any]):
    """Keyword arguments of a handle's call, with the interface of Starlette's query parameters."""

    def getlist(self, key: str) -> list[Any]:
        """Return the items of a list or tuple, a list of any other value, [] for a missing key."""
        if key not in self:
            return []
        value = self[key]
        return list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True)
class ServeRequest:
    """A request of a handle: `handle.remote(data, key=value)`.

    Has the interface of a Starlette `Request`, so that backends handle both alike.

    Attributes:
        data: The first argument of `remote`.
        args: The keyword arguments of `remote`.
        method: The handle's option `http_method`.
        headers: The handle's option `http_headers`, with names in lower case.
        call_method: The handle's option `method_name`.
    """

    data: Any = None
    args: Arguments = field(default_factory=Arguments)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    call_method: str = CALL

    @property
    def query_params(self) -> Arguments:
        """The keyword arguments (`args`)."""
        return self.args

    async def body(self) -> bytes:
        """Return the data as bytes: strings as UTF-8, other values as JSON."""
        if self.data is None:
            return b""
        if isinstance(self.data, str):
            return self.data.encode()
        if isinstance(self.data, bytes | bytearray | memoryview):
            return bytes(self.data)
        return json.dumps(self.data).encode()

    async def json(self) -> Any:
        """Return the data; strings and bytes are parsed as JSON."""
        if isinstance(self.data, str | bytes | bytearray):
            return json.loads(self.data)
        return self.data

    async def form(self) -> Arguments:
        """Return the data as the fields of a form.

        Raises:
            ServeError: The data is not a dict.
        """
        if not isinstance(self.data, dict):
            raise ServeError(
                f"form() requires a dict as the data of a request, not {type(self.data).__name__}."
            )
        return Arguments(self.data)


def called_method(request: ServeRequest | Request) -> str:
    """Return the name of the method that a request of a handle or of HTTP calls."""
    if isinstance(request, ServeRequest):
        return request.call_method
    # The raw headers, since Starlette would decode all of them. Names are in lower case.
    for name, value in request.scope["headers"]:
        if name == _HEADER:
            return str(value, "latin-1")
    return CALL
