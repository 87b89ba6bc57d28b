"""Both ends of real connections for tests: on asyncio and uvloop, over Unix sockets and TCP."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from alacarte._wire.authentication import CallerHandshake, ReplicaHandshake, welcome
from alacarte._wire.caller_connection import CallerConnection, CallerStream, connect
from alacarte._wire.error_codec import ErrorDecoder, unpickle_error
from alacarte._wire.frames import CHUNK_BYTES, HEADER, Decoder, Frame, Kind
from alacarte._wire.listener import Listener
from alacarte._wire.replica_connection import ReplicaConnection, ReplicaStream
from alacarte.errors import ServeError
from alacarte.types import Address, Call, Message, Reply, Service

SECRET = b"s" * 32
REPLICA_ID = "replica-1"
HERE = "this-host"
MAX_MESSAGE = 64 << 20
LONG_BYTES = 16 << 20
PATIENCE_S = 20.0
"""A condition that does not hold by then never will."""


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # nobody waits: the loop runs
            await asyncio.sleep(0)


def join(message: Message) -> bytes:
    return b"".join(bytes(piece) for piece in message)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", load: int = 0) -> bytes:
    """Return the bytes of one frame."""
    return HEADER.pack(len(payload), kind, flags, load, stream) + payload


def feed(decoder: Decoder, data: bytes | memoryview) -> list[Frame]:
    """Put bytes where the decoder wants them, as a socket does."""
    frames: list[Frame] = []
    view = memoryview(data)
    while view:
        buffer = decoder.get_buffer()
        assert len(buffer) > 0
        count = min(len(buffer), len(view))
        buffer[:count] = view[:count]
        view = view[count:]
        frames += decoder.received(count)
    return frames


class Desk:
    """An acceptor as small as can be: runs a service for each call, `limit` at a time."""

    listener: Listener
    address: Address

    def __init__(self, service: Service, limit: int) -> None:
        self.service = service
        self.limit = limit
        self.ongoing = 0
        self.started = 0
        self.cancelled = 0
        self.hung: list[ReplicaConnection] = []
        self.seen: list[ReplicaConnection] = []
        self.rejected_callers: set[ReplicaConnection] = set()

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[None] | None:
        if stream.connection not in self.seen:
            self.seen.append(stream.connection)
        if self.ongoing >= self.limit:
            self.rejected_callers.add(stream.connection)
            return None
        self._count(1)
        self.started += 1
        task = asyncio.get_running_loop().create_task(self._run(stream, call))
        task.add_done_callback(lambda task: self._left(stream, task))
        return task

    def connection_ended(self, connection: ReplicaConnection) -> None:
        self.hung.append(connection)
        self.rejected_callers.discard(connection)

    async def _run(self, stream: ReplicaStream, call: Call) -> None:
        try:
            reply = await self.service(call)
            if reply.rest is None:
                self._release(stream)
                stream.reply(reply)
                return
            try:
                await stream.reply_streaming(reply)
            finally:
                await reply.rest.aclose()  # type: ignore[attr-defined]
            self._release(stream)
            stream.end()
        except asyncio.CancelledError:
            self._release(stream)
            stream.fail(ServeError("the handler was cancelled"))
            raise
        except Exception as error:
            self._release(stream)
            stream.fail(error)

    def _left(self, stream: ReplicaStream, task: asyncio.Task[None]) -> None:
        self._release(stream)
        if task.cancelled():
            self.cancelled += 1
        else:
            task.result()

    def _release(self, stream: ReplicaStream) -> None:
        if not stream.released:
            stream.released = True
            self._count(-1)
            for connection in self.rejected_callers:
                connection.send(Kind.LOAD, 0, 0)
            self.rejected_callers.clear()

    def _count(self, by: int) -> None:
        self.ongoing += by
        self.listener.load.ongoing = self.ongoing


class Peer:
    """The other end of a replica's or caller's connection, with no manners of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = Decoder(max_frame=CHUNK_BYTES, max_message=MAX_MESSAGE)
        self._frames: deque[Frame] = deque()

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def receive(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._frames:
                data = await self.reader.read(1 << 16)
                assert data, "the connection was closed"
                self._frames += feed(self._decoder, data)
        return self._frames.popleft()

    async def closed(self) -> bytes:
        """Wait until the other side closes; return the frames sent before, unread ones excepted."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while data := await self.reader.read(1 << 16):
                    received += data
            except ConnectionError:
                pass
        self.writer.close()
        return received

    async def prove(self, replica_id: str = REPLICA_ID, secret: bytes = SECRET) -> Peer:
        """Authenticate as a caller."""
        handshake = CallerHandshake(secret, replica_id)
        self.send(frame(Kind.HELLO, payload=handshake.hello()))
        challenge = await self.receive()
        assert challenge.kind == Kind.CHALLENGE
        self.send(frame(Kind.PROOF, payload=handshake.prove(challenge.payload)))
        assert (await self.receive()).kind == Kind.WELCOME
        return self

    async def answer(self, replica_id: str = REPLICA_ID, secret: bytes = SECRET) -> Peer:
        """Authenticate as a replica."""
        handshake = ReplicaHandshake(secret, replica_id)
        hello = await self.receive()
        self.send(frame(Kind.CHALLENGE, payload=handshake.challenge(hello.payload)))
        proof = await self.receive()
        handshake.accept(proof.payload)
        self.send(frame(Kind.WELCOME, payload=welcome({})))
        return self


class Wire:
    """One event loop and one kind of socket, with the connections of a test."""

    def __init__(self, loop: str, family: str) -> None:
        self._make_loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[loop]
        self._family = family
        self._name = f"{loop}-{family}"

    def __str__(self) -> str:
        return self._name

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test, and check that nothing of it is left afterwards."""
        self._desks: list[Desk] = []
        self._callers: list[CallerConnection] = []
        self._peers: list[Peer] = []
        self._servers: list[asyncio.Server] = []
        self._paths = 0
        self._accidents: list[dict[str, Any]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="wire"))
        try:
            with asyncio.Runner(loop_factory=self._make_loop) as runner:
                runner.run(self._run(test))
        finally:
            shutil.rmtree(self._folder)

    async def _run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self._accidents.append(context))
        try:
            await test()
            await self._check()
        finally:
            self._end()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert not self._accidents

    async def _check(self) -> None:
        """Check that nothing is in flight or held."""
        await until(lambda: all(not desk.ongoing for desk in self._desks))
        for desk in self._desks:
            for connection in desk.seen:
                assert not connection._streams
                assert not connection.connected or not connection._decoder._reserved
        for caller in self._callers:
            await until(lambda caller=caller: not caller._pumps)
            assert not caller._streams
            assert not caller._decoder._reserved
            caller.close()
        for peer in self._peers:
            peer.writer.close()
        for desk in self._desks:
            desk.listener.close()
            async with asyncio.timeout(PATIENCE_S):
                await desk.listener.wait_closed()
        await until(lambda: all(caller.transport is None for caller in self._callers))

    def _end(self) -> None:
        for caller in self._callers:
            caller.abort()
        for peer in self._peers:
            peer.writer.close()
        for server in self._servers:
            server.close()
        for desk in self._desks:
            desk.listener.abort()

    # --- the serving end ----------------------------------------------------------------

    async def listen(
        self,
        service: Service,
        *,
        limit: int = 1000,
        max_message: int = MAX_MESSAGE,
        replica_id: str = REPLICA_ID,
        secret: bytes = SECRET,
    ) -> Desk:
        """Serve calls with `service`."""
        desk = Desk(service, limit)
        desk.listener = Listener(
            desk, replica_id, secret, max_message=max_message, metadata=lambda: {"served": "here"}
        )
        if self._family == "unix":
            path = self._path()
            await desk.listener.listen_unix(path)
            desk.address = Address(path, HERE)
        else:
            desk.address = Address("", "", await desk.listener.listen_tcp("127.0.0.1"))
        self._desks.append(desk)
        return desk

    async def impersonate(self, replica: Callable[[Peer], Awaitable[object]]) -> Address:
        """Listen, and let `replica` talk to each peer that connects."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            self._peers.append(peer)
            await replica(peer)

        if self._family == "unix":
            path = self._path()
            self._servers.append(await asyncio.start_unix_server(talk, path))
            return Address(path, HERE)
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self._servers.append(server)
        return Address("", "", server.sockets[0].getsockname()[:2])

    def _path(self) -> str:
        self._paths += 1
        return str(self._folder / f"{self._paths}.sock")

    # --- the calling end ----------------------------------------------------------------

    async def connect(
        self,
        to: Desk | Address,
        *,
        replica_id: str = REPLICA_ID,
        secret: bytes = SECRET,
        max_message: int = MAX_MESSAGE,
        decode_error: ErrorDecoder = unpickle_error,
    ) -> CallerConnection:
        address = to.address if isinstance(to, Desk) else to
        connection = await connect(
            address,
            replica_id,
            secret,
            host_id=HERE,
            max_message=max_message,
            decode_error=decode_error,
        )
        self._callers.append(connection)
        return connection

    async def raw(self, to: Desk | Address) -> Peer:
        """Connect without saying anything."""
        address = to.address if isinstance(to, Desk) else to
        if address.unix_path:
            peer = Peer(*await asyncio.open_unix_connection(address.unix_path))
        else:
            assert address.tcp is not None
            peer = Peer(*await asyncio.open_connection(*address.tcp))
        self._peers.append(peer)
        return peer


def on_every_wire(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function on both loops and both kinds of socket."""
    return _on(test, [Wire(loop, s) for loop in ("asyncio", "uvloop") for s in ("unix", "tcp")])


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function on both loops, where the kind of socket is of no importance."""
    return _on(test, [Wire("asyncio", "unix"), Wire("uvloop", "unix")])


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function on uvloop, for features that asyncio's transports lack."""
    return _on(test, [Wire("uvloop", "unix")])


def _on(test: Callable[..., Coroutine[Any, Any, None]], wires: list[Wire]) -> Callable[..., None]:
    @pytest.mark.parametrize("wire", wires, ids=str)
    @functools.wraps(test)
    def run(wire: Wire, **fixtures: Any) -> None:
        wire.run(lambda: test(wire, **fixtures))

    return run


# --- calls ------------------------------------------------------------------------------


def start(
    connection: CallerConnection,
    *payload: bytes | memoryview,
    done: Callable[[CallerStream], None] = lambda stream: None,
    **fields: Any,
) -> CallerStream:
    """Send a call."""
    return connection.open(Call("test", payload or (b"",), **fields), done)


async def ask(connection: CallerConnection, *payload: bytes | memoryview, **fields: Any) -> bytes:
    """Send a call and return its reply."""
    async with asyncio.timeout(PATIENCE_S):
        return join((await start(connection, *payload, **fields).reply).payload)


async def read(reply: Reply) -> list[bytes]:
    """Return everything that follows the first message of a reply."""
    assert reply.rest is not None
    async with asyncio.timeout(PATIENCE_S):
        return [join(message) async for message in reply.rest]


async def echo(call: Call) -> Reply:
    return Reply(call.payload)


async def messages(*items: bytes) -> AsyncIterator[Message]:
    for item in items:
        yield (item,)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines of the wire at WARNING and above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "alacarte.wire" and record.levelname in ("WARNING", "ERROR", "CRITICAL")
    ]


class Blocked:
    """A service that replies when the test allows it."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.calls = []

    async def __call__(self, call):
        self.calls.append(call)
        await self.gate.wait()
        return Reply((b"done",))
