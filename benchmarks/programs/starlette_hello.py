"""Bare Starlette answering a short text."""

from __future__ import annotations

import bare
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


if __name__ == "__main__":
    bare.run(Starlette(routes=[Route("/", hello)]))
