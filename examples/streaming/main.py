"""A response that is sent while it is produced, through two deployments.

python examples/streaming/main.py
alacarte run main:app -d examples/streaming       # then: curl -N http://127.0.0.1:8000/
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

TEXT = "Words arrive one by one and nobody waits for the last of them"


@serve.deployment
class Writer:
    """Stands for a language model: it produces one word at a time."""

    async def write(self) -> AsyncIterator[str]:
        for word in TEXT.split():
            await asyncio.sleep(0.02)
            yield word


@serve.deployment
class Ingress:
    def __init__(self, writer: DeploymentHandle) -> None:
        self.writer = writer.options(stream=True)

    async def __call__(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self.lines(), media_type="text/plain")

    async def lines(self) -> AsyncIterator[str]:
        # A client that goes away ends this loop, and with it the writer.
        async for word in self.writer.write.remote():
            yield word + "\n"


app = Ingress.bind(Writer.bind())

if __name__ == "__main__":
    serve.run(app)
    [proxy] = serve.status().proxies.values()
    with urllib.request.urlopen(proxy.url) as response:
        for line in response:
            print(line.decode(), end="", flush=True)
    serve.shutdown()
