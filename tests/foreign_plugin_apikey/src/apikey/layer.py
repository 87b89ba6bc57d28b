"""Authentication layer that requires an API key."""

from __future__ import annotations

from collections.abc import Mapping

from alacarte.types import Identity
from alacarte_http.layers import HttpLayer, HttpRequest, HttpResponse, HttpService

from . import digest

__all__ = ["require_key"]

HEADER = "x-api-key"


def require_key(keys: Mapping[str, str]) -> HttpLayer:
    """Answer 401 to requests without one of these keys.

    Args:
        keys: Names of the keys' owners, by digest.
    """

    def wrap(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            key = request.header(HEADER)
            owner = None if key is None else keys.get(digest(key))
            if owner is None:
                return HttpResponse(
                    401, "Send a valid key in X-API-Key.", {"WWW-Authenticate": "ApiKey"}
                )
            # The application must not see the key.
            authenticated = request.without_headers(HEADER).with_identity(Identity(owner))
            return await service(authenticated)

        return call

    return wrap
