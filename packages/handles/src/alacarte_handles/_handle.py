"""The handle: calls the methods of a deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alacarte.calls import new_request_id, python_call
from alacarte.context import current_call
from alacarte.errors import ConfigError, RequestCancelledError, ServeError
from alacarte.runtime import get_runtime
from alacarte.types import Call, DeploymentId, Reply, Runtime, Service

from ._broadcast import DeploymentBroadcastResponse
from ._options import DEFAULTS, Options, replace_options
from ._response import DeploymentResponse, DeploymentResponseGenerator

__all__ = ["DeploymentHandle"]


class DeploymentHandle:
    """Calls a deployment's methods, from sync and async code, in any process.

    A deployment gets handles in place of the bound deployments among its constructor's arguments,
    and `serve.run` returns a handle. A pickled handle holds the deployment's name only; an
    unpickled one calls through the connections of its own process.

        response = handle.remote("text")              # handle.__call__("text")
        response = handle.summarize.remote("text")    # another method
    """

    def __init__(
        self,
        deployment: DeploymentId,
        runtime: Runtime | None = None,
        options: Options = DEFAULTS,
    ) -> None:
        self._deployment = deployment
        self._runtime = runtime
        self._options = options
        self._service: Service | None = None
        self._is_task_free = False
        self._shut_down = False

    @property
    def deployment_name(self) -> str:
        """Name of the deployment."""
        return self._deployment.name

    @property
    def app_name(self) -> str:
        """Name of the deployment's application."""
        return self._deployment.app

    @property
    def deployment_id(self) -> DeploymentId:
        """Application and name of the deployment."""
        return self._deployment

    @property
    def is_initialized(self) -> bool:
        """Whether this handle has connected to the deployment, by `_init` or its first call."""
        return self._service is not None

    def running_replicas_populated(self) -> bool:
        """Return whether a replica is connected, so that a call would be sent at once.

        False for a handle that has neither called nor connected.
        """
        return self._runtime is not None and bool(self._runtime.replicas_of(self._deployment))

    def options(self, **options: object) -> DeploymentHandle:
        """Return a handle with other options, over the same connections.

        Args:
            method_name: The method to call.
            stream: The method is a generator; `remote` returns its items one by one.
            multiplexed_model_id: The model of the request.
            session_id: A key by which a routing policy may choose the same replica again.
            timeout_s: Most seconds until the reply begins; None for no limit.
            idempotent: The method may run more than once for one call: if its replica is lost
                before the reply begins, the call is sent once more, to another replica.
            _prefer_local_routing: Accepted for compatibility with Ray Serve. The deployment's
                routing policy chooses the replica, so True is an error.
            _by_reference: Accepted for compatibility, without effect: values travel by value.
            request_serialization: `pickle` or `cloudpickle`, without effect: values are pickled
                by the faster one that suffices. Other values are an error.
            response_serialization: As `request_serialization`.

        Raises:
            ConfigError: An option is unknown or invalid.
        """
        new_options = replace_options(str(self._deployment), self._options, options)
        return DeploymentHandle(self._deployment, self._runtime, new_options)

    def _init(self, **options: object) -> None:
        """Connect to the deployment now rather than at the first call; once, as in Ray Serve.

        Args:
            **options: Ray Serve's `_prefer_local_routing` and `_source`; see `options`.

        Raises:
            RuntimeError: The handle has connected before.
            ConfigError: An option is unknown or not supported.
        """
        if self._service is not None:
            raise RuntimeError(
                f"{self!r} is connected already; call _init() once, before the first call."
            )
        options.pop("_source", None)
        replace_options(str(self._deployment), self._options, options)
        runtime = self._ready_runtime()
        if asyncio._get_running_loop() is runtime.loop:
            self._resolve_service(runtime)
        else:
            runtime.submit(self._resolve_service_on_loop(runtime)).result()

    def shutdown(self) -> None:
        """Refuse further calls through this handle; calls in flight go on.

        The connections belong to the process and stay open for other handles.
        """
        self._shut_down = True
        self._service = None
        self._runtime = None

    async def shutdown_async(self) -> None:
        """Refuse further calls, as `shutdown` does."""
        self.shutdown()

    def __getattr__(self, name: str) -> DeploymentHandle:
        if name.startswith("__") and name.endswith("__"):
            # Protocol probes of Python and its libraries, never a user's method.
            raise AttributeError(name)
        method = DeploymentHandle(
            self._deployment, self._runtime, replace(self._options, method_name=name)
        )
        # Bypasses `__getattr__` from now on, for `handle.method` in hot loops.
        self.__dict__[name] = method
        return method

    def remote(
        self, *args: object, **kwargs: object
    ) -> Any:  # DeploymentResponse | DeploymentResponseGenerator, by `options(stream=)`
        """Call the method, and return its response at once.

        Responses of other calls may be arguments: the call is sent when their results arrive.

        Returns:
            A `DeploymentResponse`, or a `DeploymentResponseGenerator` with `stream=True`.

        Raises:
            ConfigError: An argument cannot be pickled; the message names the argument.
            ServeError: No instance is running.
        """
        runtime = self._runtime
        if runtime is None or runtime.loop.is_closed():
            runtime = self._ready_runtime()
        options = self._options
        parent = current_call.get()
        nested = None if parent is None else parent.nested
        if nested is not None and nested.cancelled and asyncio._get_running_loop() is None:
            # The only way to end a thread of a cancelled request: its calls raise.
            assert parent is not None
            raise RequestCancelledError(parent.request_id)
        work: Any  # a coroutine; the type of a service says awaitable
        if _has_responses(args, kwargs):
            request_id = new_request_id() if parent is None else parent.request_id
            eager = False
            work = self._chained(runtime, args, kwargs, request_id)
        else:
            call = self._call(args, kwargs)
            request_id = call.request_id
            eager = self._is_task_free and call.deadline is None
            if self._service is not None and asyncio._get_running_loop() is runtime.loop:
                work = self._service(call)
            else:
                work = self._routed(runtime, call)
        kind = DeploymentResponseGenerator if options.stream else DeploymentResponse
        return kind(runtime, work, request_id, eager=eager, nested=nested)

    def broadcast(
        self, method_name: str, *args: object, **kwargs: object
    ) -> DeploymentBroadcastResponse:
        """Call a method at every running replica, including full ones.

        For commands that each replica must get, such as to load weights or drop a cache. The call
        bypasses the queue, `max_ongoing_requests` and the caller's layers. Replicas that start
        later do not get the call. A sync method waits for one of the replica's
        `max_ongoing_requests` threads.

        Raises:
            ConfigError: An argument cannot be pickled, or is the response of another call.
            ServeError: No instance is running.
        """
        runtime = self._runtime
        if runtime is None or runtime.loop.is_closed():
            runtime = self._ready_runtime()
        if self._options.stream:
            raise ConfigError(f"{self!r}: broadcast() cannot stream; call it without stream=True.")
        if _has_responses(args, kwargs):
            raise ConfigError(
                f"{self!r}: broadcast() takes no responses as arguments; pass their results."
            )
        options = self._options
        call = python_call(
            method_name,
            args,
            kwargs,
            timeout_s=options.timeout_s,
            model_id=options.multiplexed_model_id,
            routing_key=options.session_id,
            bypass_limit=True,
        )
        return DeploymentBroadcastResponse(runtime, self._deployment, call)

    def _ready_runtime(self) -> Runtime:
        """Return the current runtime of this process, which may have replaced an earlier one."""
        if self._shut_down:
            raise ServeError(f"{self!r} was shut down; get a new handle to the deployment.")
        self._service = None
        self._runtime = runtime = get_runtime()
        return runtime

    def _call(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], request_id: str = ""
    ) -> Call:
        options = self._options
        return python_call(
            options.method_name,
            args,
            kwargs,
            streaming=options.stream,
            timeout_s=options.timeout_s,
            model_id=options.multiplexed_model_id,
            routing_key=options.session_id,
            request_id=request_id,
            idempotent=options.idempotent,
        )

    def _resolve_service(self, runtime: Runtime) -> Service:
        self._service = service = runtime.service(self._deployment)
        self._is_task_free = runtime.is_task_free(self._deployment)
        return service

    async def _resolve_service_on_loop(self, runtime: Runtime) -> None:
        self._resolve_service(runtime)

    async def _routed(self, runtime: Runtime, call: Call) -> Reply:
        """Call the deployment's service, which only the runtime's loop may look up."""
        return await (self._service or self._resolve_service(runtime))(call)

    async def _chained(
        self,
        runtime: Runtime,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        request_id: str,
    ) -> Reply:
        """Wait for all responses among the arguments together, then call."""
        values = [*args, *kwargs.values()]
        waiting = [value for value in values if isinstance(value, DeploymentResponse)]
        results = iter(await asyncio.gather(*waiting))
        values = [
            next(results) if isinstance(value, DeploymentResponse) else value for value in values
        ]
        named = dict(zip(kwargs, values[len(args) :], strict=True))
        call = self._call(tuple(values[: len(args)]), named, request_id)
        return await self._routed(runtime, call)

    def __reduce__(self) -> tuple[object, ...]:
        return DeploymentHandle, (self._deployment, None, self._options)

    def __repr__(self) -> str:
        return f"<handle to {self._deployment}.{self._options.method_name}>"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeploymentHandle)
            and self._deployment == other._deployment
            and self._options == other._options
        )

    def __hash__(self) -> int:
        return hash((self._deployment, self._options))


def _has_responses(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, DeploymentResponse):
            return True
        if isinstance(value, DeploymentResponseGenerator):
            raise ConfigError(
                "a streaming response cannot be an argument of another call; pass a list of its "
                "items."
            )
    return False
