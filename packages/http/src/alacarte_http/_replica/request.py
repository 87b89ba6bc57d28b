"""The Starlette request of a plain handler, with its scope read when the handler asks for it.

Most handlers of models look at the body only, and some at nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from starlette.requests import Request

from .._head_codec import unpack_scope
from .._starlette import body_at_once
from .receive import ReceivedBody

__all__ = ["LazyRequest"]

_PLACEHOLDER = {"type": "http"}


class LazyRequest(Request):
    """A request that came over the wire.

    Args:
        head: Of the message, up to its body.
        receive: Gives the body.
    """

    def __init__(self, head: memoryview, receive: ReceivedBody) -> None:
        super().__init__(_PLACEHOLDER, receive)
        del self.scope  # an attribute of the instance, in front of the property
        self._head = head
        self._body_parts = receive

    @cached_property
    def scope(self) -> dict[str, Any]:  # type: ignore[override]
        """ASGI's scope."""
        return unpack_scope(self._head)

    async def body(self) -> bytes:
        """Return the body: at once where it came with the head, else joined from its parts."""
        parts = self._body_parts
        whole = body_at_once(self, parts.take_whole)
        if whole is not None:
            return whole
        parts.copies = False  # the join makes the one copy
        try:
            return await super().body()
        finally:
            parts.copies = True
