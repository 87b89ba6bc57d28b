"""Calls, replies, services and layers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .._nested_calls import NestedCalls
from ._identities import Identity

Buffer = bytes | bytearray | memoryview
"""A contiguous buffer of bytes."""

Message = Sequence[Buffer]
"""The bytes of one message in pieces, written to the socket without being joined."""


class ReadyMessages(Protocol):
    """An iterator of messages, such as `Reply.rest`, that knows which messages are ready.

    The sender takes all messages that become ready in one iteration of the event loop at once,
    instead of being woken for each. It awaits other iterators message by message.

    Attributes:
        on_ready: Set by the sender. The iterator calls it, where it is not None, when a message
            becomes ready while the sender awaits the next and no other message is ready.
    """

    on_ready: Callable[[], None] | None

    def __aiter__(self) -> AsyncIterator[Message]: ...

    async def __anext__(self) -> Message: ...

    def take_ready(self) -> Message | None:
        """Return the ready messages as one message; None where none is ready or awaited.

        Only a source whose messages have no boundaries, such as parts of a body, may join several.
        """

    def wake(self) -> None:
        """Pass the ready messages to the coroutine that awaits the next message."""


class PushedMessages(Protocol):
    """Messages from a replica that can be forwarded as they arrive: the `rest` of most replies.

    Iteration wakes its reader for every message. A reader that only writes the messages to a
    socket can write each message from within the read that received it.
    """

    async def pass_on(self, sink: Callable[[Buffer], bool]) -> bool:
        """Pass every message to `sink`, in order, until the end or until the sink is full.

        Short messages that arrived together are joined.

        Args:
            sink: Writes bytes without waiting, and returns whether it accepts more.

        Returns:
            True when the sink is full, False at the end of the messages.

        Raises:
            Exception: The error that ended the stream, or an error of the sink.
        """


@dataclass(slots=True, eq=False)
class Call:
    """A call of a deployment. Calls compare by identity and are hashable.

    Attributes:
        protocol: Name of the `CallProtocol` that reads `payload`.
        method: Name of the method; `__call__` by default.
        payload: The first, and often the only, message. In pieces at the caller; exactly one
            contiguous buffer in the replica.
        body: The following messages, as they are produced; None for a call of one message.
        streaming: Whether the caller expects any number of messages, instead of one.
        request_id: Id of the request, inherited by every nested call.
        app: Application that the request entered through.
        route: Prefix of the route that the request entered by, "" for handle calls.
        model_id: Id of the multiplexed model, "" for none.
        routing_key: Key for sticky routing, "" for none.
        deadline: Time limit on this process's `time.monotonic()`, None for no limit. Sent between
            processes as remaining time.
        timeout_s: The original timeout in seconds, for errors; None for no limit.
        bypass_limit: Whether a replica at its limit accepts the call, as it does a broadcast.
        idempotent: Whether the call may run more than once: it is retried when its replica is lost.
        no_shadow: Whether a route's shadows get no copy: the call is a conversation rather than a
            request, or the shadows have a copy already.
        identity: The caller's identity, None where no layer has established an identity.
        nested: In the replica, the nested calls of this request. Copies of a call have none.
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
    """A reply: the first message, and an iterator of the rest of a streaming reply.

    Read the rest to its end, or close it (`aclose`) to cancel the work in the replica.
    """

    payload: Message
    rest: AsyncIterator[Message] | None = None


Service = Callable[[Call], Awaitable[Reply]]
"""An async function that handles calls."""

Layer = Callable[[Service], Service]
"""A function that wraps a service."""
