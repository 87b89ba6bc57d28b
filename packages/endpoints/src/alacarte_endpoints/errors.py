"""Errors of endpoints."""

from __future__ import annotations

from alacarte.errors import NotFoundError

__all__ = ["EndpointNotFoundError"]


class EndpointNotFoundError(NotFoundError, KeyError):
    """No endpoint has the name that `get_handle` was called with."""

    __str__ = Exception.__str__  # KeyError's `__str__` would quote the message
