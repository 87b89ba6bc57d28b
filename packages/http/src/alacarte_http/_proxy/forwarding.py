"""Forwarding of a request to a replica, and of the response back to the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

from alacarte.aio import close_iterator
from alacarte.errors import PluginError
from alacarte.types import Buffer, Call, Message, PushedMessages, Reply

from .._call_builder import CallBuilder
from .._edge.exchange import ClientDisconnected, Exchange
from .._head_codec import ResponseHead, unpack_response
from .._local_response import TEXT, LocalResponse, error_response
from .._request_options import RequestOptions
from .._resolved_route import ResolvedRoute
from .request_body import rest_of_body

__all__ = ["CLIENT_CLOSED_REQUEST", "OnEnd", "Forwarding", "send_local_response"]

log = logging.getLogger("alacarte.http")
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected before its response; only logged."""

OnEnd = Callable[["Forwarding", int], None]


class Forwarding:
    """Sends a request to a replica, and the replica's reply to the client.

    A request that has arrived as a whole takes no task: its call's coroutine is advanced whenever
    the awaited future is done. A task takes over when the reply is a stream, or when the client
    does not read.

    Args:
        exchange: The client's request.
        resolved: The request's route.
        options: Options in the request's headers.
        request_id: The client's id, or a new one.
        call_builder: Builds the call.
        on_end: Called once, with this object and the status that was sent.
        started_at: Time of the request's arrival, for the access log.
    """

    __slots__ = (
        "_awaited",
        "_call",
        "_call_builder",
        "_coroutine",
        "_on_end",
        "_options",
        "_pending_error",
        "_rest",
        "exchange",
        "request_id",
        "resolved",
        "started_at",
    )

    def __init__(
        self,
        exchange: Exchange,
        resolved: ResolvedRoute,
        options: RequestOptions,
        request_id: str,
        call_builder: CallBuilder,
        on_end: OnEnd,
        started_at: float,
    ) -> None:
        self.exchange = exchange
        self.resolved = resolved
        self.request_id = request_id
        self.started_at = started_at
        self._options = options
        self._call_builder = call_builder
        self._on_end: OnEnd | None = on_end
        self._call: Call | None = None
        self._coroutine: Coroutine[asyncio.Future[object] | None, None, Reply] | None = None
        self._awaited: asyncio.Future[object] | None = None
        self._pending_error: Any = None  # an exception for the next step, which may set it again
        self._rest: AsyncIterator[Message] | None = None  # of the reply, until it is closed

    def begin(self) -> None:
        """Begin; afterwards the exchange has its `work` or is answered."""
        exchange, resolved = self.exchange, self.resolved
        if exchange.more_body:
            self._spawn(self._serve(None))
            return
        try:
            call = self._make_call(exchange.take())
            if call.deadline is not None or not resolved.is_task_free:
                self._spawn(self._serve(call))
                return
            self._coroutine = resolved.http(call)  # type: ignore[assignment]  # a coroutine
        except BaseException as error:  # the client gets a response to any failure
            self._on_failure(error)
            return
        exchange.work = self
        self._advance(None)

    def _make_call(self, body: Buffer, rest: AsyncIterator[Message] | None = None) -> Call:
        exchange = self.exchange
        call = self._call = self._call_builder.http_call(
            exchange.head,
            exchange.peer,
            self.resolved,
            self._options,
            self.request_id,
            body,
            rest,
        )
        return call

    def cancel(self) -> None:
        """Cancel the call, as `asyncio.Task.cancel` would.

        If the awaited future is done already, the cancellation takes effect in the next step.
        """
        if self._awaited is None or not self._awaited.cancel():
            self._pending_error = asyncio.CancelledError()

    # --- without a task

    def _advance(self, done: object) -> None:
        """Run the next step of the coroutine, as a task would."""
        assert self._coroutine is not None
        try:
            if self._pending_error is not None:
                error, self._pending_error = self._pending_error, None
                awaited = self._coroutine.throw(error)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as end:
            self._awaited = None
            self._on_reply(end.value)
        except BaseException as error:  # the client gets a response to any failure
            self._awaited = None
            self._on_failure(error)
        else:
            self._awaited = awaited
            if awaited is None:  # a bare yield, such as `asyncio.sleep(0)`
                asyncio.get_running_loop().call_soon(self._advance, None)
                return
            try:
                awaited.add_done_callback(self._advance)
            except Exception:  # a layer awaits an object that is not asyncio's
                self._awaited = None
                if self._pending_error is None:
                    self._pending_error = RuntimeError(f"bad yield: no future, but {type(awaited)}")
                # Raised within the layer, so that the plugin is named.
                asyncio.get_running_loop().call_soon(self._advance, None)
                return
            if self._pending_error is not None and awaited.cancel():  # cancelled during the step
                self._pending_error = None

    def _on_reply(self, reply: Reply) -> None:
        exchange = self.exchange
        try:
            self._rest = reply.rest
            if exchange.disconnected and not exchange.survives_disconnect:
                status = CLIENT_CLOSED_REQUEST
            elif reply.rest is not None:
                self._spawn(self._stream(reply, reply.rest))
                return
            elif exchange.write_paused:
                self._spawn(self._respond_after_drain(reply))
                return
            else:
                status = self._respond(reply)
        except Exception as error:  # a layer or the application returned an invalid response
            self._on_failure(error)
            return
        self._end(status)
        if self._rest is not None:
            self._close_rest()

    def _on_failure(self, error: BaseException) -> None:
        """Respond to a request that failed, and end it even if the response fails."""
        exchange = self.exchange
        if exchange.disconnected:
            self._end(CLIENT_CLOSED_REQUEST)
            return
        status = 500
        try:
            response = self._error_response(error)
            if exchange.write_paused:
                self._spawn(self._send(response))
                return
            send_local_response(exchange, response, self.request_id)
            status = response.status
        except Exception as further:  # invalid attributes of the error
            log.error("request %s: no response to its error", self.request_id, exc_info=further)
            exchange.fail("the error has no response")
        self._end(status)

    # --- in a task

    def _spawn(self, work: Coroutine[object, None, int]) -> None:
        """Run the work in a task, and report the status that was sent."""
        task = self.exchange.spawn(self._run_to_end(work))

        def on_done(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before its first step runs no `finally` block.
            work.close()
            self._end(CLIENT_CLOSED_REQUEST)
            self._close_rest()

        task.add_done_callback(on_done)

    def _close_rest(self) -> None:
        """Cancel the rest of the reply at the replica."""
        if self._rest is not None:
            self.exchange.spawn(self._close())

    async def _close(self) -> None:
        rest, self._rest = self._rest, None
        await close_iterator(rest)

    async def _run_to_end(self, work: Coroutine[object, None, int]) -> None:
        status = CLIENT_CLOSED_REQUEST
        try:
            status = await work
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            if not self.exchange.disconnected:
                raise
            # The client has disconnected: end the task normally, as no caller awaits it.
        finally:
            self._end(status)

    async def _serve(self, call: Call | None) -> int:
        """Respond to the request; return the status that was sent.

        Args:
            call: The call; None if a part of the request's body has not arrived.
        """
        exchange = self.exchange
        try:
            if call is None:
                body = await exchange.read()
                rest = rest_of_body(exchange) if exchange.more_body else None
                call = self._make_call(body, rest)
            reply = await self.resolved.http(call)
            self._rest = reply.rest
            if reply.rest is None:
                return await self._respond_after_drain(reply)
        except (ClientDisconnected, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if exchange.disconnected or task is None or task.cancelling():
                raise
            return await self._send(self._error_response(error))  # raised by the service
        except BaseException as error:  # the client gets a response to any failure
            return await self._send(self._error_response(error))
        return await self._stream(reply, reply.rest)

    async def _respond_after_drain(self, reply: Reply) -> int:
        await self.exchange.drain()
        return self._respond(reply)

    async def _send(self, response: LocalResponse) -> int:
        await self.exchange.drain()
        send_local_response(self.exchange, response, self.request_id)
        return response.status

    async def _stream(self, reply: Reply, rest: AsyncIterator[Message]) -> int:
        """Send a streamed response, part by part."""
        exchange, status = self.exchange, 500
        try:
            head, body = unpack_response(reply.payload[0])
            status = head.status
            await exchange.start(head, self._request_id_header)
            if body:
                await exchange.write(body)
            if not exchange.response_complete:  # a response to HEAD is complete with its head
                if hasattr(rest, "pass_on"):
                    parts = cast(PushedMessages, rest)
                    while await parts.pass_on(exchange.write_now):
                        await exchange.drain()
                else:  # the iterator of a layer
                    async for message in rest:
                        await exchange.write(message[0])
                await exchange.end()
        except Exception as error:
            if not exchange.response_started:
                return await self._send(self._error_response(error))
            # `Exchange.run` aborts the response, so that the client detects the truncation.
            log.error("request %s: the response was aborted: %s", self.request_id, error)
        finally:
            await self._close()
        return status

    # --- with or without a task

    def _respond(self, reply: Reply) -> int:
        """Send a reply that is complete."""
        return self.exchange.respond_packed(reply.payload[0], self._request_id_header)

    def _error_response(self, error: BaseException) -> LocalResponse:
        response = error_response(error)
        if isinstance(error, PluginError):  # its traceback is logged once, with the plugin's name
            log.error("request %s failed: %s", self.request_id, error)
        elif response.status == 500:
            log.error("request %s failed", self.request_id, exc_info=error)
        return response

    @property
    def _request_id_header(self) -> bytes:
        return b"x-request-id: %b\r\n" % self.request_id.encode()

    @property
    def app(self) -> str:
        """The application that responded, or the route's application."""
        return self.resolved.route.app if self._call is None else self._call.app

    def _end(self, status: int) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self, status)


def send_local_response(exchange: Exchange, response: LocalResponse, request_id: str) -> None:
    """Send a response of the proxy itself; await `Exchange.drain` before."""
    body = response.text.encode()
    headers = [(b"content-length", b"%d" % len(body)), *response.headers]
    if not any(name == b"content-type" for name, _ in response.headers):
        headers.append(TEXT)
    if request_id:
        headers.append((b"x-request-id", request_id.encode()))
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    exchange.respond(ResponseHead(response.status, lines, len(body), False), b"", body)
