"""A bench for the data server: one connection, calls by name, and handlers that wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from alacarte._replica.data_server import DataServer
from alacarte._wire.frames import Kind
from alacarte.types import Call, DeploymentId, Reply

HERE = DeploymentId("shop", "model")


class Stream:
    """A fake stream that records its messages."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.released = False
        self.sent: list[Any] = []

    def reply(self, reply: Reply) -> None:
        self.sent.append(bytes(reply.payload[0]))

    async def reply_streaming(self, reply: Reply) -> None:
        assert reply.rest is not None
        async for message in reply.rest:
            self.sent.append(bytes(message[0]))

    def end(self) -> None:
        self.sent.append("end")

    def fail(self, error: BaseException) -> None:
        self.sent.append(error)


class Peer:
    """A caller's connection that records the kinds of its frames."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    def send(self, kind: int, flags: int, stream: int) -> None:
        self.frames.append(kind)


class Bench:
    """A server with one connection, calls by name, and handlers that wait for the test."""

    def __init__(self, max_ongoing: int = 2) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.announced: list[Kind] = []
        self.server = DataServer(HERE, {"work": self.work}, max_ongoing)
        self.server.listener = SimpleNamespace(  # type: ignore[assignment]
            load=SimpleNamespace(ongoing=0), announce=self.announced.append, connections=set()
        )
        self.connection = Peer()
        self.behaviour: Any = None

    async def work(self, call: Call) -> Reply:
        name = bytes(call.payload[0]).decode()
        self.begun.append(name)
        if self.behaviour is not None:
            return await self.behaviour(call)
        await self.gates.setdefault(name, asyncio.Event()).wait()
        return Reply(call.payload)

    def accept(self, name: str, **fields: Any) -> tuple[Stream, asyncio.Task[None] | None]:
        stream = Stream(self.connection)
        protocol = fields.pop("protocol", "work")
        return stream, self.server.accept(stream, Call(protocol, (name.encode(),), **fields))

    def check_idle(self) -> None:
        assert self.server.ongoing == 0
        assert self.server.listener.load.ongoing == 0


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
