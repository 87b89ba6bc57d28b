"""Bare Starlette with the streamed answer of `chunks.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import bare
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


async def parts(paced: bool) -> AsyncIterator[bytes]:
    for _ in range(1000):
        if paced:
            await asyncio.sleep(0)
        yield b"x" * 20


async def chunks(request: Request) -> StreamingResponse:
    paced = request.scope["path"] == "/paced"
    return StreamingResponse(parts(paced), media_type="text/plain")


if __name__ == "__main__":
    bare.run(Starlette(routes=[Route("/", chunks), Route("/paced", chunks)]))
