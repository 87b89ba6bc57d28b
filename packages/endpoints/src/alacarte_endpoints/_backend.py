"""Deployment class of a backend: an adapter around the user's function or class.

Requests are Starlette requests over HTTP, and `ServeRequest`s from handles; each names a method of
the user's class. Async methods run concurrently on the replica's event loop. Sync code runs in one
thread, one call at a time, since few models are thread-safe. A call that is cancelled while it
waits for the thread never runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from alacarte.context import get_replica_context
from alacarte.errors import InvalidRequestError

from ._batches import Batches
from ._callable import accepts_batches, is_async, methods_of
from ._request import ServeRequest, called_method

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Backend"]

Method = Callable[[object], Awaitable[object]]
_DROP_S = 5.0
"""Time limit for the destructor in the thread of sync code, when the replica stops."""


class Backend:
    """Runs the user's function, or an instance of the user's class.

    Args:
        func_or_class: The user's function or class.
        init_args: Arguments for the class's constructor.
    """

    async def __init__(  # type: ignore[misc]  # core awaits it
        self, func_or_class: Callable[..., object], init_args: tuple[object, ...]
    ) -> None:
        replica = get_replica_context()
        self._deployment = str(replica.deployment_id)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{replica.app_name}-handler")
        replica.on_close(self._close)
        self._batches = Batches(replica.app_name)
        self._methods: dict[str, Method] = {}
        self._user_config: object = None
        self._names = list(methods_of(func_or_class))
        self._is_function = not inspect.isclass(func_or_class)
        self._user: Any = func_or_class
        self._is_thread_bound = False
        if inspect.isclass(func_or_class):
            await self._construct(func_or_class, init_args)
            if hasattr(self._user, "check_health"):
                self.check_health = self._user.check_health

    async def _construct(self, kind: type[Any], args: tuple[object, ...]) -> None:
        """Create the user's object in the thread of its calls, since it may be thread-bound."""
        if is_async(kind.__init__):
            self._user = kind.__new__(kind, *args)
            await self._user.__init__(*args)
        else:
            self._is_thread_bound = True
            self._user = await self._in_thread(lambda _: kind(*args), None)

    async def __call__(self, request: ServeRequest | Request) -> object:
        """Call the method that a request names.

        Raises:
            InvalidRequestError: The backend has no such method.
        """
        name = called_method(request)
        method = self._methods.get(name) or self._look_up(name)
        return await method(request)

    async def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """Apply `BackendConfig.replica_settings`; call the user's `reconfigure` on a change."""
        self._batches.resize(settings["max_batch_size"], settings["batch_wait_timeout_s"])
        user_config = settings["user_config"]
        if user_config is not None and user_config != self._user_config:
            # In the thread of sync code, so never during a call.
            await self._runner(self._user.reconfigure)(user_config)
            self._user_config = user_config

    def _look_up(self, name: str) -> Method:
        if name not in self._names:
            there = ", ".join(self._names) or "none"
            raise InvalidRequestError(
                self._deployment, f"the backend has no method {name!r}; it has: {there}."
            )
        function = self._user if self._is_function else getattr(self._user, name)
        method = self._runner(function)
        if accepts_batches(function):
            method = self._batches.batched(name, method)
        self._methods[name] = method
        return method

    def _runner(self, function: Callable[[object], Any]) -> Method:
        """Return a coroutine function that calls a function on the loop or in the thread."""
        if is_async(function):
            return function

        async def call(argument: object) -> object:
            result = await self._in_thread(function, argument)
            # A sync function may return a coroutine.
            return await result if inspect.isawaitable(result) else result

        return call

    async def _in_thread(self, function: Callable[[object], Any], argument: object) -> object:
        context = contextvars.copy_context()
        work = functools.partial(context.run, _without_stop, function, argument)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _close(self) -> None:
        """Drop the user's object in its thread, so that the destructor runs there, and now."""
        self._methods.clear()
        vars(self).pop("check_health", None)
        if self._is_thread_bound:
            dropped = asyncio.ensure_future(self._in_thread(self._drop, None))
            # The thread may still run a cancelled request.
            await asyncio.wait([dropped], timeout=_DROP_S)
        self._drop(None)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _drop(self, _: object) -> None:
        self._user = None
        gc.collect()  # objects are often part of reference cycles, through bound methods


def _without_stop(function: Callable[[object], Any], argument: object) -> object:
    try:
        return function(argument)
    except StopIteration as error:
        # A future cannot raise StopIteration, so its waiter would hang. As in coroutines.
        raise RuntimeError("the handler raised StopIteration") from error
