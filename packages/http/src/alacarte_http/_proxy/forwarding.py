"""One request on its way to a replica, and its response on the way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

from alacarte.aio import close_iterator
from alacarte.errors import PluginError
from alacarte.types import Buffer, Call, Message, PushedMessages, Reply

from .._calls import Calls, ResolvedRoute
from .._edge.exchange import ClientDisconnected, Exchange
from .._errors import TEXT, Answer, answer_to
from .._head_codec import ResponseHead, unpack_response
from .._request_options import RequestOptions
from .request_body import rest_of_body

__all__ = ["CLIENT_LEFT", "Ended", "Forwarding", "send_answer"]

log = logging.getLogger("alacarte.http")
CLIENT_LEFT = 499
"""Not sent, only noted: nginx's number for a client that did not wait."""

Ended = Callable[["Forwarding", int], None]


class Forwarding:
    """Sends a request to a replica and answers with the reply.

    A request that is all here, a body of known length included, takes no task: its call is begun
    at once, and carried on when there is something to do. It becomes a task when the reply streams,
    or the client does not read.

    Args:
        exchange: Not begun; all of its body is here, or will be read in `run`.
        resolved: Where the request goes.
        options: What its headers ask of the proxy.
        request_id: The client's, or a new one.
        calls: Makes the call.
        ended: Called once, with this object and the status that was sent.
        began: When the request arrived, for the access log.
    """

    __slots__ = (
        "_call",
        "_calls",
        "_ended",
        "_must_raise",
        "_options",
        "_rest",
        "_steps",
        "_waiting",
        "began",
        "exchange",
        "request_id",
        "resolved",
    )

    def __init__(
        self,
        exchange: Exchange,
        resolved: ResolvedRoute,
        options: RequestOptions,
        request_id: str,
        calls: Calls,
        ended: Ended,
        began: float,
    ) -> None:
        self.exchange = exchange
        self.resolved = resolved
        self.request_id = request_id
        self.began = began
        self._options = options
        self._calls = calls
        self._ended: Ended | None = ended
        self._call: Call | None = None
        self._steps: Coroutine[Any, Any, Reply] | None = None
        self._waiting: asyncio.Future[Any] | None = None
        self._must_raise: Any = None  # an exception, in the next step
        self._rest: AsyncIterator[Message] | None = None  # of a reply, until it is closed

    def begin(self) -> None:
        """Begin; the exchange has its `work` then, unless it was answered at once."""
        exchange, resolved = self.exchange, self.resolved
        if exchange.more_body:
            self._spawn(self._serve(None))
            return
        try:
            call = self._make_call(exchange.take())
            if call.deadline is not None or not resolved.is_plain:
                self._spawn(self._serve(call))
                return
            self._steps = resolved.http(call)  # type: ignore[assignment]  # a coroutine
        except BaseException as error:  # whatever went wrong, the client gets an answer
            self._failed(error)
            return
        exchange.work = self
        self._carry_on(None)

    def _make_call(self, body: Buffer, rest: AsyncIterator[Message] | None = None) -> Call:
        exchange = self.exchange
        call = self._call = self._calls.http(
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
        """Give the call up: nobody waits for the response.

        As a task does, at the next step where what is waited for is there already.
        """
        if self._waiting is None or not self._waiting.cancel():
            self._must_raise = asyncio.CancelledError()

    # --- without a task

    def _carry_on(self, waited_for: object) -> None:
        """Take the next step of the call, as a task would."""
        assert self._steps is not None
        try:
            if self._must_raise is not None:
                error, self._must_raise = self._must_raise, None
                waiting = self._steps.throw(error)
            else:
                waiting = self._steps.send(None)
        except StopIteration as end:
            self._waiting = None
            self._replied(end.value)
        except BaseException as error:  # whatever went wrong, the client gets an answer
            self._waiting = None
            self._failed(error)
        else:
            self._waiting = waiting
            if waiting is None:  # a bare yield: there is more to do already
                asyncio.get_running_loop().call_soon(self._carry_on, None)
                return
            try:
                waiting.add_done_callback(self._carry_on)
            except Exception:  # a layer's: no event loop of asyncio knows what it waits for
                self._waiting = None
                if self._must_raise is None:
                    self._must_raise = RuntimeError(f"bad yield: no future, but {type(waiting)}")
                # Raised within the layer, so that the plugin is named.
                asyncio.get_running_loop().call_soon(self._carry_on, None)
                return
            if self._must_raise is not None and waiting.cancel():  # given up in the step itself
                self._must_raise = None

    def _replied(self, reply: Reply) -> None:
        exchange = self.exchange
        try:
            self._rest = reply.rest
            if exchange.disconnected and not exchange.survives_disconnect:
                status = CLIENT_LEFT
            elif reply.rest is not None:
                self._spawn(self._stream(reply, reply.rest))
                return
            elif exchange.write_paused:
                self._spawn(self._respond_when_read(reply))
                return
            else:
                status = self._respond(reply)
        except Exception as error:  # what a layer or the application gave is no response
            self._failed(error)
            return
        self._end(status)
        if self._rest is not None:
            self._close_rest()

    def _failed(self, error: BaseException) -> None:
        """Answer a request that failed, and end it, whatever else fails with it."""
        exchange = self.exchange
        if exchange.disconnected:
            self._end(CLIENT_LEFT)
            return
        status = 500
        try:
            answer = self._answer_to(error)
            if exchange.write_paused:
                self._spawn(self._answer(answer))
                return
            send_answer(exchange, answer, self.request_id)
            status = answer.status
        except Exception as further:  # of what the error brings
            log.error("request %s cannot be answered", self.request_id, exc_info=further)
            exchange.fail("its error cannot be told")
        self._end(status)

    # --- in a task

    def _spawn(self, work: Coroutine[Any, Any, int]) -> None:
        """Do the work in a task, and report the status that was sent."""
        task = self.exchange.spawn(self._and_end(work))

        def ended(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before its first step runs none of its `finally`.
            work.close()
            self._end(CLIENT_LEFT)
            self._close_rest()

        task.add_done_callback(ended)

    def _close_rest(self) -> None:
        """Let the replica know that nobody reads the rest of its reply."""
        if self._rest is not None:
            self.exchange.spawn(self._close())

    async def _close(self) -> None:
        rest, self._rest = self._rest, None
        await close_iterator(rest)

    async def _and_end(self, work: Coroutine[Any, Any, int]) -> None:
        status = CLIENT_LEFT
        try:
            status = await work
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            if not self.exchange.disconnected:
                raise
            # The client is gone, and so is the reason to finish; nobody waits for us.
        finally:
            self._end(status)

    async def _serve(self, call: Call | None) -> int:
        """Answer the request; return the status that was sent.

        Args:
            call: None where more of the request's body is to come.
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
                return await self._respond_when_read(reply)
        except (ClientDisconnected, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if exchange.disconnected or task is None or task.cancelling():
                raise
            return await self._answer(self._answer_to(error))  # the service's own
        except BaseException as error:  # whatever went wrong, the client gets an answer
            return await self._answer(self._answer_to(error))
        return await self._stream(reply, reply.rest)

    async def _respond_when_read(self, reply: Reply) -> int:
        await self.exchange.drain()
        return self._respond(reply)

    async def _answer(self, answer: Answer) -> int:
        await self.exchange.drain()
        send_answer(self.exchange, answer, self.request_id)
        return answer.status

    async def _stream(self, reply: Reply, rest: AsyncIterator[Message]) -> int:
        """Send a response part by part, as its parts come."""
        exchange, status = self.exchange, 500
        try:
            head, body = unpack_response(reply.payload[0])
            status = head.status
            await exchange.start(head, self._id_line)
            if body:
                await exchange.write(body)
            if not exchange.response_complete:  # one to HEAD is its head alone
                if hasattr(rest, "pass_on"):
                    parts = cast(PushedMessages, rest)
                    while await parts.pass_on(exchange.write_now):
                        await exchange.drain()
                else:  # a layer's
                    async for message in rest:
                        await exchange.write(message[0])
                await exchange.end()
        except Exception as error:
            if not exchange.response_started:
                return await self._answer(self._answer_to(error))
            # The response has begun: all that is left is to cut it, so that the client sees it.
            log.error("request %s: the response broke off: %s", self.request_id, error)
        finally:
            await self._close()
        return status

    # --- in either

    def _respond(self, reply: Reply) -> int:
        """Send a response that is all here."""
        return self.exchange.respond_packed(reply.payload[0], self._id_line)

    def _answer_to(self, error: BaseException) -> Answer:
        answer = answer_to(error)
        if isinstance(error, PluginError):  # with its traceback it is logged once, by its plugin
            log.error("request %s failed: %s", self.request_id, error)
        elif answer.status == 500:
            log.error("request %s failed", self.request_id, exc_info=error)
        return answer

    @property
    def _id_line(self) -> bytes:
        return b"x-request-id: %b\r\n" % self.request_id.encode()

    @property
    def app(self) -> str:
        """The application that has answered, or was to."""
        return self.resolved.route.app if self._call is None else self._call.app

    def _end(self, status: int) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, status)


def send_answer(exchange: Exchange, answer: Answer, request_id: str) -> None:
    """Send a short answer of the proxy's own; await `Exchange.drain` before."""
    body = answer.text.encode()
    headers = [(b"content-length", b"%d" % len(body)), *answer.headers]
    if not any(name == b"content-type" for name, _ in answer.headers):
        headers.append(TEXT)
    if request_id:
        headers.append((b"x-request-id", request_id.encode()))
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    exchange.respond(ResponseHead(answer.status, lines, len(body), False), b"", body)
