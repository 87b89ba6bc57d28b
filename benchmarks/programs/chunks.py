"""A streamed answer of 1,000 chunks of 20 bytes, at once or, under `/paced`, one by one."""

from __future__ import annotations

from program import serve, serve_until_told


async def parts(paced):
    import asyncio

    for _ in range(1000):
        if paced:  # as who waits for each token of a model
            await asyncio.sleep(0)
        yield b"x" * 20


@serve.deployment(max_ongoing_requests=100)
class Chunks:
    async def __call__(self, request):
        from starlette.responses import StreamingResponse

        paced = request.scope["path"] == "/paced"
        return StreamingResponse(parts(paced), media_type="text/plain")


if __name__ == "__main__":
    serve_until_told(Chunks.bind())
