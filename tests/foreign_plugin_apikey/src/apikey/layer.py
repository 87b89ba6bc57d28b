"""The layer that asks for a key."""

from __future__ import annotations

from collections.abc import Mapping

from alacarte.types import Identity
from alacarte_http.layers import HttpLayer, HttpRequest, HttpResponse, HttpService

from . import digest

__all__ = ["require_key"]

HEADER = "x-api-key"


def require_key(keys: Mapping[str, str]) -> HttpLayer:
    """Answer 401 unless a request carries one of these keys.

    Args:
        keys: Digests, each with the name of the key's owner.
    """

    def wrap(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            key = request.header(HEADER)
            owner = None if key is None else keys.get(digest(key))
            if owner is None:
                return HttpResponse(
                    401, "Send a valid key in X-API-Key.", {"WWW-Authenticate": "ApiKey"}
                )
            # The application has no business with the key itself.
            known = request.without_headers(HEADER).with_identity(Identity(owner))
            return await service(known)

        return call

    return wrap
