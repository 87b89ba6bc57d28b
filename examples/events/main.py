"""Server-sent events: a page in the browser shows each word as soon as it is produced.

python examples/events/main.py             # serve, read one stream of events, stop
alacarte run main:app -d examples/events   # then open http://127.0.0.1:8000/ in a browser
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from alacarte import serve
from alacarte.serve.handle import DeploymentHandle

ANSWER = "is a good question. A language model writes one word at a time, and you read along."
# Caches must not store a stream, and nginx must not collect its events before it sends them.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@serve.deployment(max_ongoing_requests=50, ray_actor_options={"num_cpus": 0.25})
class Writer:
    """Stands for a language model: yields the words of an answer, with their numbers."""

    async def write(self, prompt: str, start: int) -> AsyncIterator[tuple[int, str]]:
        words = f"{prompt} {ANSWER}".split()
        for number, word in enumerate(words[start:], start + 1):
            await asyncio.sleep(0.05)
            yield number, word


@serve.deployment(max_ongoing_requests=50, ray_actor_options={"num_cpus": 0.25})
class Chat:
    """The ingress: the page at `/`, and the events of one answer at `/events`."""

    def __init__(self, writer: DeploymentHandle, page: str) -> None:
        self.writer = writer.options(stream=True)
        self.page = page

    async def __call__(self, request: Request) -> Response:
        if not request.url.path.endswith("/events"):
            return HTMLResponse(self.page)
        last = request.headers.get("last-event-id", "")
        events = self.events(request.query_params["prompt"], int(last) if last.isdigit() else 0)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)

    async def events(self, prompt: str, start: int) -> AsyncIterator[str]:
        """Yield the words after number `start` as events; a last one says that no more follow."""
        # A client that disconnects closes this generator, and with it the writer's.
        async for number, word in self.writer.write.remote(prompt, start):
            yield f"id: {number}\ndata: {json.dumps(word)}\n\n"
        yield "event: done\ndata: null\n\n"


app = Chat.bind(Writer.bind(), Path(__file__).with_name("page.html").read_text("utf-8"))


def main() -> None:
    serve.run(app)
    [proxy] = serve.status().proxies.values()
    with urllib.request.urlopen(f"{proxy.url}events?prompt=Why") as response:
        for line in response:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "data" and value != "null":
                print(json.loads(value), end=" ", flush=True)
    print()
    serve.shutdown()


if __name__ == "__main__":
    main()
