"""Handlers of a Starlette application for errors of calls to other deployments."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from alacarte.errors import RequestError, ServeError

from .._local_response import error_response

__all__ = ["add_error_handlers"]


def add_error_handlers(app: Starlette) -> None:
    """Respond to uncaught errors of calls to other deployments, unless a user's handler does.

    Starlette prefers a user's handler of a more specific type.
    """
    if not {RequestError, ServeError} & app.exception_handlers.keys():
        app.exception_handlers[RequestError] = _respond_to_error


async def _respond_to_error(request: Request, error: Exception) -> Response:
    response = error_response(error)
    if response.status == 500 or request.scope["type"] != "http":
        raise error
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return Response(response.text, response.status, headers, "text/plain")
