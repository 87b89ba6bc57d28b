"""What can go wrong with endpoints, besides what alacarte's other errors say."""

from __future__ import annotations

from alacarte.errors import NotFoundError

__all__ = ["EndpointNotFoundError"]


class EndpointNotFoundError(NotFoundError, KeyError):
    """There is no endpoint of the name that a handle was asked for."""

    __str__ = Exception.__str__  # a KeyError's would be the quoted repr
