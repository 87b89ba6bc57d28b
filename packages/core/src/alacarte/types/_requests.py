"""A request and a reply on their way, and the functions that carry them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .._nested_calls import NestedCalls
from ._identities import Identity

Buffer = bytes | bytearray | memoryview
"""One contiguous run of bytes."""

Message = Sequence[Buffer]
"""The bytes of one message in pieces, written to the socket without being joined."""


class ReadyMessages(Protocol):
    """Messages whose source knows which are ready, as `Reply.rest` may be.

    Who sends them takes all that gets ready in one turn of the event loop at once, and is not woken
    for each. Without these names it awaits one after the other.

    Attributes:
        on_ready: Set by who sends them. To be called, where it is not None, when a message gets
            ready while the next one is awaited and no other is ready; the loop's turn goes on.
    """

    on_ready: Callable[[], None] | None

    def __aiter__(self) -> AsyncIterator[Message]: ...

    async def __anext__(self) -> Message: ...

    def take_ready(self) -> Message | None:
        """Return what is ready as one message; None for nothing, or when the next is not awaited.

        The pieces are sent as they are joined: only a source whose messages have no borders of
        their own, such as parts of a body, may give several at once.
        """

    def wake(self) -> None:
        """Give what is ready to who awaits the next message."""


class PushedMessages(Protocol):
    """Messages from a replica, which can be given on as they arrive: the `rest` of most replies.

    Iterating wakes its reader for every message. Who does no more with them than write them to a
    socket can have each written from within the read that has brought it.
    """

    async def pass_on(self, sink: Callable[[Buffer], bool]) -> bool:
        """Give every message to `sink`, in order, until the end or until the sink is full.

        Short ones that have arrived together are given as one.

        Args:
            sink: Takes bytes, at once, and returns whether it takes more.

        Returns:
            Whether there may be more: True when the sink is full, False at the end.

        Raises:
            Exception: What has ended the stream, or the sink has raised.
        """


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way to a deployment. Two are never equal, and a call may be a key.

    Attributes:
        protocol: Name of the `CallProtocol` that understands `payload`.
        method: The method asked for; `__call__` by default.
        payload: The first (often the only) message. At the caller in pieces; in the replica
            always exactly one contiguous piece.
        body: Messages that follow the first, as they are produced; None when there are none.
        streaming: The caller expects any number of messages, not one.
        request_id: Follows the request through every nested call.
        app: Application the request entered through.
        route: Route prefix it entered by, "" for handle calls.
        model_id: Multiplexed model asked for, "" for none.
        routing_key: What a routing policy may hash to be sticky, "" for none.
        deadline: On this process's `time.monotonic()`, None for no limit. It crosses the wire
            as remaining time.
        timeout_s: The time that was given to begin with, for errors to tell; None for no limit.
        bypass_limit: The replica takes it whatever it is working on, as it does a broadcast.
        idempotent: It may run more than once: when its replica is lost, it is sent elsewhere.
        no_shadow: A route's shadows get no copy of the call: it is a conversation rather than a
            request, or the shadows have a copy already.
        identity: Who makes the request, None where no layer has established it.
        nested: In the replica, what this request has called. A copy of a call has none of it.
    """

    protocol: str
    payload: Message
    method: str = "__call__"
    body: AsyncIterator[Message] | None = None
    streaming: bool = False
    request_id: str = ""
    app: str = ""
    route: str = ""
    model_id: str = ""
    routing_key: str = ""
    deadline: float | None = None
    timeout_s: float | None = None
    bypass_limit: bool = False
    idempotent: bool = False
    no_shadow: bool = False
    identity: Identity | None = None
    nested: NestedCalls | None = field(default=None, init=False, compare=False, repr=False)


@dataclass(slots=True)
class Reply:
    """What came back: a first message, and the rest where the reply streams.

    The rest must be read to its end or closed (`aclose`), which cancels the work.
    """

    payload: Message
    rest: AsyncIterator[Message] | None = None


Service = Callable[[Call], Awaitable[Reply]]
Layer = Callable[[Service], Service]
