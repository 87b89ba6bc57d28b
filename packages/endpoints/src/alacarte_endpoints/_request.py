"""What a backend is given for a call by a handle, where HTTP gives it a Starlette `Request`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alacarte.errors import ServeError

from ._callable import CALL

__all__ = ["Arguments", "ServeRequest", "called_method"]

_HEADER = b"x-serve-call-method"


class Arguments(dict[str, Any]):
    """Keyword arguments of a handle's call, read as those of a URL's query are."""

    def getlist(self, key: str) -> list[Any]:
        """Return the items of a list or tuple, any other value as the only one, [] for none."""
        if key not in self:
            return []
        value = self[key]
        return list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True)
class ServeRequest:
    """A call by a handle: `handle.remote(data, key=value)`.

    It reads as a Starlette `Request` does, so that a backend serves both alike.

    Attributes:
        data: The value that was passed, as it was.
        args: The keyword arguments.
        method: `http_method` of the handle's options.
        headers: `http_headers` of the handle's options; names in lower case.
        call_method: `method_name` of the handle's options.
    """

    data: Any = None
    args: Arguments = field(default_factory=Arguments)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    call_method: str = CALL

    @property
    def query_params(self) -> Arguments:
        """The same as `args`."""
        return self.args

    async def body(self) -> bytes:
        """Return the data as bytes: text encoded, other values as JSON."""
        if self.data is None:
            return b""
        if isinstance(self.data, str):
            return self.data.encode()
        if isinstance(self.data, bytes | bytearray | memoryview):
            return bytes(self.data)
        return json.dumps(self.data).encode()

    async def json(self) -> Any:
        """Return the data; text and bytes are read as JSON."""
        if isinstance(self.data, str | bytes | bytearray):
            return json.loads(self.data)
        return self.data

    async def form(self) -> Arguments:
        """Return the data as the fields of a form.

        Raises:
            ServeError: It is no dict.
        """
        if not isinstance(self.data, dict):
            raise ServeError(
                f"the data of this request is a {type(self.data).__name__}; form() needs a dict."
            )
        return Arguments(self.data)


def called_method(request: Any) -> str:
    """Return the name of the method that a request asks for, by a handle or over HTTP."""
    if isinstance(request, ServeRequest):
        return request.call_method
    # As they came, since Starlette would decode the others as well. Names are in lower case.
    for name, value in request.scope["headers"]:
        if name == _HEADER:
            return str(value, "latin-1")
    return CALL
