"""The adapter that stands around a user's function or class in each replica of a backend.

To alacarte it is the class of an ordinary deployment. HTTP gives it Starlette requests, handles
give it `ServeRequest`s, and each says which of the user's methods it is for. Async methods run on
the replica's event loop, together. Sync code runs in one thread, so one call at a time: models are
seldom made to be used by several threads. What waits for that thread, and is cancelled, never
runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from alacarte.context import get_replica_context
from alacarte.errors import InvalidRequestError

from ._batches import Batches
from ._callable import accepts_batches, is_async, methods_of
from ._request import called_method

__all__ = ["Backend"]

Method = Callable[[Any], Awaitable[Any]]
_DROP_S = 5.0
"""How long the thread of sync code may take for its last call before the replica ends without."""


class Backend:
    """Runs a user's function, or an instance of their class.

    Args:
        func_or_class: The user's.
        init_args: Of the class.
    """

    async def __init__(  # type: ignore[misc]  # core awaits it
        self, func_or_class: Callable[..., Any], init_args: tuple[Any, ...]
    ) -> None:
        replica = get_replica_context()
        self._deployment = str(replica.deployment_id)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{replica.app_name}-handler")
        replica.on_close(self._close)
        self._batches = Batches(replica.app_name)
        self._methods: dict[str, Method] = {}
        self._user_config: Any = None
        self._names = list(methods_of(func_or_class))
        self._is_function = not inspect.isclass(func_or_class)
        self._user: Any = func_or_class
        self._lives_in_thread = False
        if inspect.isclass(func_or_class):
            await self._construct(func_or_class, init_args)
            if hasattr(self._user, "check_health"):
                self.check_health = self._user.check_health

    async def _construct(self, kind: type[Any], args: tuple[Any, ...]) -> None:
        """Make the user's object where it will be called: what it holds may mind the thread."""
        if is_async(kind.__init__):
            self._user = kind.__new__(kind, *args)
            await self._user.__init__(*args)
        else:
            self._lives_in_thread = True
            self._user = await self._in_thread(lambda _: kind(*args), None)

    async def __call__(self, request: Any) -> Any:
        """Answer a request.

        Raises:
            InvalidRequestError: It asks for a method that there is not.
        """
        name = called_method(request)
        method = self._methods.get(name) or self._look_up(name)
        return await method(request)

    async def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """Take over `BackendConfig.replica_settings`, and pass on the user's part if it changes."""
        self._batches.resize(settings["max_batch_size"], settings["batch_wait_timeout_s"])
        user_config = settings["user_config"]
        if user_config is not None and user_config != self._user_config:
            # In the thread of other sync code, so not in the midst of a call.
            await self._runner(self._user.reconfigure)(user_config)
            self._user_config = user_config

    def _look_up(self, name: str) -> Method:
        if name not in self._names:
            there = ", ".join(self._names) or "none"
            raise InvalidRequestError(
                self._deployment, f"there is no method {name!r}; there are: {there}."
            )
        function = self._user if self._is_function else getattr(self._user, name)
        method = self._runner(function)
        if accepts_batches(function):
            method = self._batches.batched(name, method)
        self._methods[name] = method
        return method

    def _runner(self, function: Callable[[Any], Any]) -> Method:
        """Return a coroutine function that calls a function where it belongs."""
        if is_async(function):
            return function

        async def call(argument: Any) -> Any:
            result = await self._in_thread(function, argument)
            # A sync function may hand back a coroutine it made.
            return await result if inspect.isawaitable(result) else result

        return call

    async def _in_thread(self, function: Callable[[Any], Any], argument: Any) -> Any:
        context = contextvars.copy_context()
        work = functools.partial(context.run, _without_stop, function, argument)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _close(self) -> None:
        """Drop the user's object where it was made, so that its destructor runs there and now."""
        self._methods.clear()
        vars(self).pop("check_health", None)
        if self._lives_in_thread:
            dropped = asyncio.ensure_future(self._in_thread(self._drop, None))
            # The thread may be at work for a request that nobody waits for any more.
            await asyncio.wait([dropped], timeout=_DROP_S)
        self._drop(None)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _drop(self, _: None) -> None:
        self._user = None
        gc.collect()  # objects often hold themselves, by way of a callback or a bound method


def _without_stop(function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except StopIteration as error:
        # No future can hold it, so its waiter would wait for ever. Coroutines do the same.
        raise RuntimeError("the handler raised StopIteration") from error
