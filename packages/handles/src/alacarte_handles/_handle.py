"""The handle: a deployment, seen from where it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from alacarte.calls import python_call
from alacarte.errors import ConfigError
from alacarte.runtime import get_runtime
from alacarte.types import Call, DeploymentId, Reply, Runtime, Service

from ._response import DeploymentResponse, DeploymentResponseGenerator

__all__ = ["DeploymentHandle"]


@dataclass(frozen=True)
class _Options:
    """How a handle calls."""

    method_name: str = "__call__"
    stream: bool = False
    multiplexed_model_id: str = ""
    session_id: str = ""
    timeout_s: float | None = None


_OPTION_NAMES = tuple(_Options.__dataclass_fields__)


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
        options: _Options = _Options(),
    ) -> None:
        self._deployment = deployment
        self._runtime = runtime
        self._options = options
        self._service: Service | None = None
        self._is_plain = False

    @property
    def deployment_name(self) -> str:
        return self._deployment.name

    @property
    def app_name(self) -> str:
        return self._deployment.app

    @property
    def deployment_id(self) -> DeploymentId:
        return self._deployment

    def options(self, **options: Any) -> DeploymentHandle:
        """Return a handle that calls in another way, over the same connections.

        Args:
            method_name: The method to call.
            stream: The method is a generator; `remote` returns its items one by one.
            multiplexed_model_id: The model the request is for.
            session_id: What a routing policy may hash to be sticky.
            timeout_s: Time for the reply to begin, in seconds; None for no limit.

        Raises:
            ConfigError: An option is unknown.
        """
        for name in options:
            if name not in _OPTION_NAMES:
                raise ConfigError(
                    f"{self._deployment}: handles have no option {name!r}; there are "
                    f"{', '.join(_OPTION_NAMES)}."
                )
        return DeploymentHandle(self._deployment, self._runtime, replace(self._options, **options))

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
            runtime = self._join()
        options = self._options
        work: Any
        if _has_responses(args, kwargs):
            request_id = ""
            at_once = False
            work = self._chained(runtime, args, kwargs)
        else:
            call = self._call(args, kwargs)
            request_id = call.request_id
            # A stream looks at the task that opens it, to end it when it is left.
            at_once = self._is_plain and call.deadline is None and not options.stream
            if self._service is not None and asyncio._get_running_loop() is runtime.loop:
                work = self._service(call)
            else:
                work = self._routed(runtime, call)
        kind = DeploymentResponseGenerator if options.stream else DeploymentResponse
        return kind(runtime, work, request_id, at_once=at_once)

    def _join(self) -> Runtime:
        """Take the runtime of this process: the first one, or one after it was shut down."""
        self._service = None
        self._runtime = runtime = get_runtime()
        return runtime

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        options = self._options
        return python_call(
            options.method_name,
            args,
            kwargs,
            streaming=options.stream,
            timeout_s=options.timeout_s,
            model_id=options.multiplexed_model_id,
            routing_key=options.session_id,
        )

    async def _routed(self, runtime: Runtime, call: Call) -> Reply:
        """Call through the runtime's service, which may be looked up on its loop only."""
        if self._service is None:
            self._service = runtime.service(self._deployment)
            self._is_plain = runtime.is_plain(self._deployment)
        return await self._service(call)

    async def _chained(
        self, runtime: Runtime, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Reply:
        """Wait for the responses among the arguments, all at once, then call."""
        values = [*args, *kwargs.values()]
        waiting = [value for value in values if isinstance(value, DeploymentResponse)]
        results = iter(await asyncio.gather(*waiting))
        values = [
            next(results) if isinstance(value, DeploymentResponse) else value for value in values
        ]
        named = dict(zip(kwargs, values[len(args) :], strict=True))
        return await self._routed(runtime, self._call(tuple(values[: len(args)]), named))

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
