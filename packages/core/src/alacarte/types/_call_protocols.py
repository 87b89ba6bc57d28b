"""Call protocols: how a call becomes a call of the user's code in the replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Protocol

from ..errors import ErrorCode
from ._deployment_id import DeploymentId
from ._requests import Reply, Service


class FailureProtocol(Protocol):
    """A `CallProtocol` with replies that stand for errors, such as an HTTP reply with status 500.

    Routing policies and observers get such a call as failed. Used in the processes that make calls
    and in replicas, so `register_protocols` imports little and `bind` imports the rest.
    """

    def failure_code(self, reply: Reply) -> ErrorCode | None:
        """Return the code of the error that a reply stands for, None for a success.

        Args:
            reply: The reply, which may still be streaming: read its `payload` only.
        """


class Method(NamedTuple):
    """A callable of the user's object, with the traits that decide how it is called.

    Attributes:
        function: The function, bound to the user's object.
        is_async: Whether a call returns a coroutine. Other functions run in the thread pool.
        is_generator: Whether a call returns a sync or async generator, and runs no code yet.
    """

    function: Callable[..., Any]
    is_async: bool
    is_generator: bool


class UserCallable(Protocol):
    """The user's object in a replica, as a `CallProtocol` sees it.

    Attributes:
        deployment: The deployment of the replica.
        instance: The instance of the user's class, or the user's function itself.
    """

    deployment: DeploymentId
    instance: Any

    def method(self, name: str) -> Method:
        """Return the method of the user's object with this name.

        Raises:
            NotFoundError: The object has no such method; the message lists its methods.
        """

    async def in_thread(
        self, function: Callable[..., object], *args: object, **kwargs: object
    ) -> Any:
        """Call a sync function in the replica's thread pool, with the current context variables."""

    async def invoke(self, method: str, /, *args: object, **kwargs: object) -> Any:
        """Run a method of the user's object, whatever kind of function it is.

        A coroutine function runs on the event loop, any other function in the thread pool.

        Returns:
            The method's result; an async iterator of items where the method is a generator or
            returns one. The caller reads the iterator to its end or closes it (`aclose`).

        Raises:
            NotFoundError: The object has no such method; the message lists its methods.
        """

    def iterate(self, generator: Any) -> AsyncIterator[Any]:
        """Iterate a generator of user code; a sync generator runs in the thread pool."""


class CallProtocol(Protocol):
    """Turns calls of one kind into calls of the user's code, in the replica."""

    name: str

    def bind(self, user: UserCallable, /) -> Service:
        """Return the service that runs calls of this protocol on the user's object. Called once."""
