"""A server for clients that leave early; it knows how many requests it is working on.

`/gate` answers only when `GATE` requests wait at it at once. As the replica takes no more than
that many, a single request it never forgot would keep the gate shut.
"""

from __future__ import annotations

from program import serve, serve_until_told

GATE = 64


@serve.deployment(max_ongoing_requests=GATE)
class Patient:
    def __init__(self, gate):
        import asyncio
        import os

        self.active = 0
        self.pid = os.getpid()
        self.gate = gate
        self.waiting = 0
        self.opened = asyncio.Event()

    async def __call__(self, request):
        self.active += 1
        try:
            return await self.answer(request)
        finally:
            self.active -= 1

    async def answer(self, request):
        import asyncio

        match request.url.path:
            case "/state":
                return {"pid": self.pid, "active": self.active - 1}
            case "/slow":
                await asyncio.sleep(0.05)
                return "slow"
            case "/stream":
                from starlette.responses import StreamingResponse

                return StreamingResponse(self.chunks())
            case "/upload":
                return str(len(await request.body()))
            case "/gate":
                return await self.pass_gate()
        return "hello"

    async def chunks(self):
        import asyncio

        self.active += 1
        try:
            for _ in range(20):
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            self.active -= 1

    async def pass_gate(self):
        import asyncio

        self.waiting += 1
        try:
            if self.waiting == self.gate:
                self.opened.set()
            await asyncio.wait_for(self.opened.wait(), 10)
            return "open"
        except TimeoutError:
            return "shut"
        finally:
            self.waiting -= 1


if __name__ == "__main__":
    serve_until_told(Patient.bind(GATE))
