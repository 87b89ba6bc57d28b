"""Bodies far larger than memory should hold, taken and sent part by part."""

from __future__ import annotations

from program import serve, serve_until_told

PART_BYTES = 256 * 1024


@serve.deployment(max_ongoing_requests=100)
class Large:
    def __init__(self, part_bytes):
        import os

        self.pid = os.getpid()
        self.part = b"x" * part_bytes

    async def __call__(self, request):
        import asyncio

        from starlette.responses import StreamingResponse

        if request.scope["path"] == "/pid":
            return str(self.pid)
        if request.method == "POST":
            await asyncio.sleep(float(request.query_params["pause_s"]))
            size = 0
            async for part in request.stream():
                size += len(part)
            return str(size)
        return StreamingResponse(self.parts(int(request.query_params["bytes"])))

    async def parts(self, size):
        while size > 0:
            yield self.part[:size]
            size -= len(self.part)


if __name__ == "__main__":
    serve_until_told(Large.bind(PART_BYTES), max_body_bytes=None)
