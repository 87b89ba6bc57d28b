"""Helpers of the tests against malicious or broken peers."""

import asyncio
from struct import Struct

from alacarte._wire.envelope import pack_envelope
from alacarte._wire.frames import (
    FINAL,
    Kind,
)
from alacarte.types import Call, Reply

from .support import (
    ask,
    frame,
    join,
    start,
    until,
)

OTHER = b"o" * 32
REFERENCE = Struct("<IQQ")
ENVELOPE = pack_envelope(Call("test", (b"",)))


class Bystander:
    """Another caller, with a call in flight before, during and after the attack."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.bodies = []

    async def service(self, call):
        if call.method == "wait":
            await self.gate.wait()
        elif call.method == "stream":
            return Reply((b"head",), self.endless())
        elif call.method == "body":
            self.bodies.append(call.body)
            await asyncio.Event().wait()
        return Reply(call.payload)

    async def endless(self):
        while True:
            yield (bytes(1000),)

    async def arrive(self, wire, **options):
        self.desk = await wire.listen(self.service, **options)
        self.connection = await wire.connect(self.desk)
        self.stream = start(self.connection, b"still here", method="wait")
        await until(lambda: self.desk.ongoing == 1)
        return self.desk

    async def unharmed(self):
        """The bystander's call succeeds, and nothing of the attacker is left."""
        await until(lambda: self.desk.ongoing == 1)
        await until(lambda: len(self.desk.listener.connections) == 1)
        assert not self.desk.listener.pending
        self.gate.set()
        assert join((await self.stream.reply).payload) == b"still here"
        assert await ask(self.connection, b"again") == b"again"


def request(method="__call__", stream=1, flags=FINAL, payload=b""):
    return frame(
        Kind.REQUEST, flags, stream, pack_envelope(Call("test", (b"",), method=method)) + payload
    )
