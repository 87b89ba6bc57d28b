"""The Starlette request of a plain handler, which decodes its scope on first use.

Most handlers read only the body, or nothing at all.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from starlette.requests import Request

from .._head_codec import unpack_scope
from .._starlette import take_body
from .received_body import ReceivedBody

__all__ = ["LazyRequest"]

_PLACEHOLDER = {"type": "http"}


class LazyRequest(Request):
    """A Starlette request with a lazy scope.

    Args:
        head: The encoded head.
        receive: Yields the body.
    """

    def __init__(self, head: memoryview, receive: ReceivedBody) -> None:
        super().__init__(_PLACEHOLDER, receive)
        del self.scope  # the instance's attribute, so that the property applies
        self._head = head
        self._body_parts = receive

    @cached_property
    def scope(self) -> dict[str, Any]:  # type: ignore[override]
        """The ASGI scope."""
        return unpack_scope(self._head)

    async def body(self) -> bytes:
        """Return the whole body, without waiting if it came with the head."""
        parts = self._body_parts
        whole = take_body(self, parts.take_whole)
        if whole is not None:
            return whole
        parts.yields_bytes = False  # joining the parts copies them once
        try:
            return await super().body()
        finally:
            parts.yields_bytes = True
