"""From a call to the user's code, in the replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Protocol

from ..errors import ErrorCode
from ._deployment_id import DeploymentId
from ._requests import Reply, Service


class FailureProtocol(Protocol):
    """A `CallProtocol` some of whose replies stand for errors, such as HTTP's with a status of 500.

    Routing policies and observers hear of such a call that it failed. Asked in the processes that
    make calls as well as in replicas, so `register_protocols` imports little and `bind` the rest.
    """

    def failure_code(self, reply: Reply) -> ErrorCode | None:
        """Return the code of the error that a reply stands for, None for a success.

        Args:
            reply: Perhaps still streaming: only its `payload` is to be looked at.
        """


class Method(NamedTuple):
    """One callable of the user's object, looked at once.

    Attributes:
        function: Bound to the object, ready to be called.
        is_async: Calling it gives a coroutine; otherwise it belongs in the thread pool.
        is_generator: Calling it gives a generator, sync or async, and runs nothing yet.
    """

    function: Callable[..., Any]
    is_async: bool
    is_generator: bool


class UserCallable(Protocol):
    """The user's object in a replica, as a `CallProtocol` sees it.

    Attributes:
        deployment: Whose it is.
        instance: The instance of the user's class, or the user's function itself.
    """

    deployment: DeploymentId
    instance: Any

    def method(self, name: str) -> Method:
        """Return the callable of that name.

        Raises:
            NotFoundError: There is none; the message lists those there are.
        """

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a sync function in the replica's thread pool, with this context's variables."""

    async def invoke(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the user's object, whatever kind of function it is.

        A coroutine function runs on the event loop, any other function in the thread pool.

        Returns:
            What the method returns; an async iterator of its items where the method is a generator
            or returns one. Who gets an iterator reads it to its end or closes it (`aclose`).

        Raises:
            NotFoundError: There is no such method; the message lists those there are.
        """

    def iterate(self, generator: Any) -> AsyncIterator[Any]:
        """Iterate a sync or async generator of the user's, a sync one in the thread pool."""


class CallProtocol(Protocol):
    """How one kind of call becomes a call of the user's code, in the replica."""

    name: str

    def bind(self, served: UserCallable) -> Service:
        """Return the service that runs calls of this protocol on `served`. Called once."""
