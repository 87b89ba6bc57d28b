"""Bare Starlette with the uploads and downloads of `bodies.py`."""

from __future__ import annotations

import bare
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

made: dict[int, bytes] = {}


async def bodies(request: Request) -> Response:
    if request.method == "POST":
        return PlainTextResponse(str(len(await request.body())))
    size = int(request.scope["path"][1:])
    if size not in made:
        made[size] = b"x" * size
    return Response(made[size], media_type="application/octet-stream")


if __name__ == "__main__":
    bare.run(Starlette(routes=[Route("/{size}", bodies, methods=["GET", "POST"])]))
