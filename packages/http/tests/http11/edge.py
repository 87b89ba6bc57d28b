"""The edge's connections on a transport in memory, with a record of their behaviour.

The one file of the comparison that knows the server's classes.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from alacarte.types import Call as ReplicaCall
from alacarte.types import DeploymentId, Reply, Route, RouteTable
from alacarte_http._edge.edge import Edge as Shared
from alacarte_http._edge.edge import Successor
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import ClientDisconnected, Exchange
from alacarte_http._edge.head import Head, Peer
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import ResponseHead, pack_response
from alacarte_http._proxy.proxy_app import ProxyApp
from alacarte_http.config import HTTPOptions

from .model import Limits, Request

__all__ = ["AT_ONCE", "EARLY", "HELD", "LIMITS", "READS", "Answer", "Call", "Edge", "Observed"]

LIMITS = Limits(request_line=200, header_bytes=600, header_fields=12, body=300)
"""Small limits, which few bytes exceed."""
READS, EARLY, HELD, AT_ONCE = "reads", "answers early", "waits", "answers at once"
"""Behaviours of the application.

Reads and answers; answers and does not read; waits, then reads and answers; where all of the
request is here, answers in the callback that has read it, or in the next turn of the loop.
"""
_IDLE_TURNS = 8
"""Iterations of the loop without an event after which all work has ended."""
_MAX_TURNS = 5000
_TABLE = RouteTable(1, (Route("/", "app", {DeploymentId("app", "d"): 1.0}),))


@dataclass
class Call:
    """A request as the application got it. `complete`: the end of its body was there."""

    request: Request
    path: str
    complete: bool = False


@dataclass(frozen=True)
class Answer:
    """A final response on the wire.

    Attributes:
        call: Number of the application's call, None where the server answered itself.
        closes: It has `HttpConnection: close`.
        bodiless: It has no body, whatever its Content-Length.
    """

    status: int
    call: int | None
    closes: bool
    bodiless: bool


@dataclass
class Observed:
    """Observations of a server that read a stream.

    Attributes:
        complaints: Of the server's own: bytes that are no response, an application that raised.
        upgraded: Bytes that came behind the head of a WebSocket, None without one.
    """

    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    upgraded: bytes | None = None
    complaints: list[str] = field(default_factory=list)


class _Transport(asyncio.Transport):
    """A client's end in memory."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__({"socket": peer})
        self.written = bytearray()
        self.closing = self.ended = False
        self.reading = True
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol


class _Upgraded(Successor):
    """Takes over the connection of a WebSocket, and notes what comes."""

    def __init__(self) -> None:
        self.received = b""

    def open(self, head: Head, peer: Peer) -> None:
        self.head = head

    def drain(self, linger_s: float = 0.0) -> None: ...

    def abort(self) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.received += data


class _Runtime:
    """Of the proxy: one deployment, whose replies take a turn of the loop. Counts them all.

    Attributes:
        plain: Calls are begun without a task.
        ended: Requests that the proxy has noted as ended.
    """

    def __init__(self) -> None:
        self.plain = False
        self.ended = 0

    def route_service(self, route: Route, failed: object) -> Callable[..., Any]:
        return self._serve

    def is_task_free(self, deployment: DeploymentId) -> bool:
        return self.plain

    def record(self, *_: object) -> None:
        self.ended += 1

    async def _serve(self, call: ReplicaCall) -> Reply:
        await asyncio.sleep(0)
        if call.body is not None:
            async for _ in call.body:
                pass
        return Reply((pack_response(200, ()) + b"reply",))


class Edge:
    """A server for many streams, each on its own connection."""

    def __init__(self) -> None:
        options = HTTPOptions(
            max_request_line_bytes=LIMITS.request_line,
            max_header_bytes=LIMITS.header_bytes,
            max_header_fields=LIMITS.header_fields,
            max_body_bytes=LIMITS.body,
        )
        self._shared = Shared(self._application, edge_limits(options), _Upgraded)
        self._runtime: Any = _Runtime()
        self._proxy = ProxyApp(self._runtime, options, self._runtime)
        self._proxied = Shared(self._proxy, edge_limits(options), _Upgraded)
        self._sockets = socket.socketpair()
        for each in self._sockets:
            each.setblocking(False)  # nobody reads what asks a client whether it is there
        self._observed = Observed()
        self._behaviour = READS
        self._events = 0
        self._released = asyncio.Event()

    def close(self) -> None:
        """Close what stands for the socket."""
        for each in self._sockets:
            each.close()

    async def receive(self, reads: list[bytes], behaviour: str, *, eof: bool) -> Observed:
        """Return what the server does with the reads of one connection.

        Args:
            behaviour: Of the application: READS, EARLY or HELD.
            eof: The client then stops sending.
        """
        self._observed = observed = Observed()
        self._behaviour = behaviour
        self._released.clear()
        transport = _Transport(self._sockets[0])
        connection = HttpConnection(self._shared)
        transport.protocol = connection
        connection.connection_made(transport)
        for read in reads:
            if not transport.reading:
                self._released.set()
                await self._settle(transport)
                if not transport.reading and not transport.closing:
                    observed.complaints.append("reading stays paused")
                    break
            if transport.closing:
                break
            transport.protocol.data_received(read)
            await asyncio.sleep(0)
        self._released.set()
        await self._settle(transport)
        if eof and not transport.closing and transport.protocol is connection:
            if not transport.protocol.eof_received():
                transport.closing = True
            await self._settle(transport)
        observed.closed = transport.closing or transport.ended
        if isinstance(transport.protocol, _Upgraded):
            self._note_upgrade(transport.protocol.head, transport.protocol.received)
        observed.answers = read_answers(bytes(transport.written), observed.complaints)
        transport.closing = True
        transport.protocol.connection_lost(None)
        await self._settle(transport)
        await self._forward(reads, eof=eof)
        return observed

    async def _forward(self, reads: list[bytes], *, eof: bool) -> None:
        """Send the reads through the proxy's handler: each request that begins ends once."""
        for plain in (False, True):
            self._runtime.plain = plain
            self._proxy.update(_TABLE)
            begun = _Begun(self._proxy)
            self._proxied.handler = begun
            before = self._runtime.ended
            transport = _Transport(self._sockets[0])
            connection = transport.protocol = HttpConnection(self._proxied)
            connection.connection_made(transport)
            for read in reads:
                if transport.closing or not transport.reading:
                    break
                transport.protocol.data_received(read)
            if eof and not transport.closing and transport.protocol is connection:
                transport.protocol.eof_received()
            transport.closing = True
            transport.protocol.connection_lost(None)
            for _ in range(_MAX_TURNS):
                if not self._proxied.tasks and not self._proxy.ongoing:
                    break
                await asyncio.sleep(0)
            ended = self._runtime.ended - before
            if ended != begun.count or self._proxy.ongoing or self._proxied.tasks:
                self._observed.complaints.append(
                    f"of {begun.count} requests {ended} ended, {self._proxy.ongoing} are left"
                )
                self._proxy.ongoing = 0

    async def _settle(self, transport: _Transport) -> None:
        """Wait until nothing happens any more."""
        idle = turns = 0
        before = (-1, -1)
        while idle < _IDLE_TURNS:
            await asyncio.sleep(0)
            now = (self._events, len(transport.written))
            idle = idle + 1 if now == before else 0
            before = now
            turns += 1
            if turns > _MAX_TURNS:
                self._observed.complaints.append("the server does not come to rest")
                return

    def _note_upgrade(self, head: Head, received: bytes) -> None:
        """Take what the WebSocket's connection got: the head, and the rest."""
        self._observed.calls.append(Call(_request(head), "", True))
        self._observed.upgraded = received

    def _application(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        call = Call(_request(exchange.head), exchange.head.path)
        number = len(self._observed.calls)
        self._observed.calls.append(call)
        self._events += 1
        if self._behaviour != AT_ONCE or exchange.more_body:
            return self._answer(exchange, call, number)
        _take(call, exchange.take(), whole=True)
        if number % 2:
            self._respond(exchange, number)
        else:
            exchange.work = _Later(
                asyncio.get_running_loop(), partial(self._respond, exchange, number)
            )
        return None

    async def _answer(self, exchange: Exchange, call: Call, number: int) -> None:
        if self._behaviour == HELD:
            await self._released.wait()
        more = self._behaviour != EARLY
        while more:
            try:
                part = await exchange.read()
            except ClientDisconnected:
                return
            finally:
                self._events += 1
            more = exchange.more_body
            _take(call, part, whole=not more)
        self._respond(exchange, number)

    def _respond(self, exchange: Exchange, number: int) -> None:
        text = b"<%d>" % number
        lines = b"x-call: %d\r\ncontent-length: %d\r\n" % (number, len(text))
        exchange.respond(ResponseHead(200, lines, len(text), False), b"", text)
        self._events += 1


class _Begun:
    """Counts the requests that an application notes."""

    def __init__(self, proxy: ProxyApp) -> None:
        self._proxy = proxy
        self.count = 0

    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        if not exchange.head.raw_path.startswith(b"/-/"):
            self.count += 1
        return self._proxy(exchange)


class _Later:
    """Calls a function in the next turn of the loop, if nobody cancels it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        self._handle = loop.call_soon(function)

    def cancel(self) -> None:
        self._handle.cancel()


def _take(call: Call, part: bytes, *, whole: bool) -> None:
    body = call.request.body + part
    call.request = Request(**{**call.request.__dict__, "body": body})
    call.complete = whole


def _request(head: Head) -> Request:
    version = b"HTTP/" + head.version.encode()
    return Request(head.method.encode(), head.raw_path, head.query, version, tuple(head.headers))


def read_answers(written: bytes, complaints: list[str]) -> list[Answer]:
    """Read responses as a client does, interim ones left out."""
    answers = []
    while written:
        head, found, written = written.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z -]*\r?\n?", head)
        if match is None or not found:
            complaints.append(f"no response: {head!r}")
            return answers
        status = int(match[1])
        if status == 100:
            continue
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        fields = [(name, value) for name, _, value in lines]
        lengths = [int(value) for name, value in fields if name == b"content-length"]
        calls = [int(value) for name, value in fields if name == b"x-call"]
        if len(lengths) != 1:
            complaints.append(f"no length, or two: {head!r}")
            return answers
        bodiless = not written or written.startswith(b"HTTP/1.1 ")
        if not bodiless:
            if len(written) < lengths[0]:
                complaints.append(f"a body of {len(written)} instead of {lengths[0]} bytes")
            written = written[lengths[0] :]
        answers.append(
            Answer(
                status,
                calls[0] if calls else None,
                (b"connection", b"close") in fields,
                bodiless and lengths[0] > 0,
            )
        )
    return answers
