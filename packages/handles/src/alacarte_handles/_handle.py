"""The handle: a deployment, seen from where it is called."""

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
from ._options import DEFAULTS, Options, changed
from ._response import DeploymentResponse, DeploymentResponseGenerator

__all__ = ["DeploymentHandle"]


class DeploymentHandle:
    """Calls a deployment's methods, from sync and async code, in any process.

    A bound deployment among another one's constructor arguments arrives as a handle, and
    `serve.run` returns one. It pickles to the deployment's name; where it is loaded it calls
    through that process's own connections.

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
        self._is_plain = False
        self._shut_down = False

    @property
    def deployment_name(self) -> str:
        """The deployment that is called."""
        return self._deployment.name

    @property
    def app_name(self) -> str:
        """Its application."""
        return self._deployment.app

    @property
    def deployment_id(self) -> DeploymentId:
        """Both names together."""
        return self._deployment

    @property
    def is_initialized(self) -> bool:
        """Whether this handle has made connections: by `_init`, or at its first call."""
        return self._service is not None

    def running_replicas_populated(self) -> bool:
        """Whether a replica is known and connected here, so that a call would be sent at once.

        Of a handle that has not called yet it is not known.
        """
        return self._runtime is not None and bool(self._runtime.replicas_of(self._deployment))

    def options(self, **options: Any) -> DeploymentHandle:
        """Return a handle that calls in another way, over the same connections.

        Args:
            method_name: The method to call.
            stream: The method is a generator; `remote` returns its items one by one.
            multiplexed_model_id: The model the request is for.
            session_id: What a routing policy may hash to be sticky.
            timeout_s: Time for the reply to begin, in seconds; None for no limit.
            idempotent: The method may run more than once for one call: when its replica is lost
                before the reply has begun, the call is sent elsewhere, once more.
            _prefer_local_routing: Taken for Ray Serve's sake. Which replica is called is the
                routing policy's decision, so True is an error that says so.
            _by_reference: Taken, and changes nothing: values always travel by value.
            request_serialization: `pickle` or `cloudpickle`; values are pickled, by the faster of
                the two where it is enough. Ray Serve's others are an error.
            response_serialization: As `request_serialization`.

        Raises:
            ConfigError: An option is unknown, or has a value that is not allowed.
        """
        wanted = changed(str(self._deployment), self._options, options)
        return DeploymentHandle(self._deployment, self._runtime, wanted)

    def _init(self, **options: Any) -> None:
        """Connect to the deployment now rather than at the first call; once, as in Ray Serve.

        Args:
            **options: `_prefer_local_routing` and `_source`, Ray Serve's; see `options`.

        Raises:
            RuntimeError: The handle has called already.
            ConfigError: An option is unknown or not to be had.
        """
        if self._service is not None:
            raise RuntimeError(f"{self!r} is in use already: _init() comes before the first call.")
        options.pop("_source", None)
        changed(str(self._deployment), self._options, options)
        runtime = self._ready_runtime()
        if asyncio._get_running_loop() is runtime.loop:
            self._look_up(runtime)
        else:
            runtime.submit(self._look_up_there(runtime)).result()

    def shutdown(self) -> None:
        """Make no further calls through this handle; those under way go on.

        Connections belong to the process, and other handles go on using them.
        """
        self._shut_down = True
        self._service = None
        self._runtime = None

    async def shutdown_async(self) -> None:
        """The same as `shutdown`, to be awaited."""
        self.shutdown()

    def __getattr__(self, name: str) -> DeploymentHandle:
        if name.startswith("__") and name.endswith("__"):
            # Protocol probes of Python and its libraries, never a user's method.
            raise AttributeError(name)
        method = DeploymentHandle(
            self._deployment, self._runtime, replace(self._options, method_name=name)
        )
        # Found without this function from now on: `handle.method` is written in hot loops.
        self.__dict__[name] = method
        return method

    def remote(
        self, *args: Any, **kwargs: Any
    ) -> Any:  # DeploymentResponse | DeploymentResponseGenerator, by `options(stream=)`
        """Call the method; return at once with what its result will be.

        Responses of other calls may be passed as arguments: the call is sent when they are there.

        Returns:
            A `DeploymentResponse`, or a `DeploymentResponseGenerator` with `stream=True`.

        Raises:
            ConfigError: An argument cannot be pickled; the message says which.
            ServeError: No instance is running.
        """
        runtime = self._runtime
        if runtime is None or runtime.loop.is_closed():
            runtime = self._ready_runtime()
        options = self._options
        parent = current_call.get()
        nested = None if parent is None else parent.nested
        if nested is not None and nested.cancelled and asyncio._get_running_loop() is None:
            # A thread hears of the cancellation by the calls that it makes, and only so.
            assert parent is not None
            raise RequestCancelledError(parent.request_id)
        work: Any
        if _has_responses(args, kwargs):
            request_id = new_request_id() if parent is None else parent.request_id
            at_once = False
            work = self._chained(runtime, args, kwargs, request_id)
        else:
            call = self._call(args, kwargs)
            request_id = call.request_id
            at_once = self._is_plain and call.deadline is None
            if self._service is not None and asyncio._get_running_loop() is runtime.loop:
                work = self._service(call)
            else:
                work = self._routed(runtime, call)
        kind = DeploymentResponseGenerator if options.stream else DeploymentResponse
        return kind(runtime, work, request_id, at_once=at_once, nested=nested)

    def broadcast(self, method_name: str, *args: Any, **kwargs: Any) -> DeploymentBroadcastResponse:
        """Call a method at every replica that runs, also those that are full.

        It is meant for what each replica must hear: load these weights, drop that cache. The call
        passes by the queue, by `max_ongoing_requests` and by layers of plugins. Replicas that
        start later do not hear of it. A sync method needs a thread all the same, of which a
        replica has `max_ongoing_requests`.

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
                f"{self!r}: broadcast() takes values, not responses; wait for their results first."
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
        """Take the runtime of this process: the first one, or one after it was shut down."""
        if self._shut_down:
            raise ServeError(f"{self!r} was shut down; get another handle to the deployment.")
        self._service = None
        self._runtime = runtime = get_runtime()
        return runtime

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], request_id: str = "") -> Call:
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

    def _look_up(self, runtime: Runtime) -> Service:
        self._service = service = runtime.service(self._deployment)
        self._is_plain = runtime.is_plain(self._deployment)
        return service

    async def _look_up_there(self, runtime: Runtime) -> None:
        self._look_up(runtime)

    async def _routed(self, runtime: Runtime, call: Call) -> Reply:
        """Call through the runtime's service, which may be looked up on its loop only."""
        return await (self._service or self._look_up(runtime))(call)

    async def _chained(
        self,
        runtime: Runtime,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        request_id: str,
    ) -> Reply:
        """Wait for the responses among the arguments, all at once, then call."""
        values = [*args, *kwargs.values()]
        waiting = [value for value in values if isinstance(value, DeploymentResponse)]
        results = iter(await asyncio.gather(*waiting))
        values = [
            next(results) if isinstance(value, DeploymentResponse) else value for value in values
        ]
        named = dict(zip(kwargs, values[len(args) :], strict=True))
        call = self._call(tuple(values[: len(args)]), named, request_id)
        return await self._routed(runtime, call)

    def __reduce__(self) -> tuple[Any, ...]:
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


def _has_responses(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, DeploymentResponse):
            return True
        if isinstance(value, DeploymentResponseGenerator):
            raise ConfigError(
                "a streaming response cannot be an argument of another call; read its items first."
            )
    return False
