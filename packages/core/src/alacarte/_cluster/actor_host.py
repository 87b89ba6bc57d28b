"""The host of an actor: the actor's object, and its event loop in a thread.

Both clusters use the same host. The owner of a host (Ray's actor process, the local cluster)
submits calls from another thread, which answers control calls itself, even while user code blocks
the loop.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from .._logging import configure_actor_logging
from .._plugins import check_same, installed, load, required_plugins
from ..foreign import as_exception, is_cancellation, load_target
from ..types import ProcessInfo
from .cluster_protocol import ActorContext, ActorSpec, Cluster, Node
from .host_sockets import host_id, socket_dir
from .loop_thread import LoopThread, Work

__all__ = ["ActorHost", "Launcher", "first_launch", "method_of"]

log = logging.getLogger("alacarte.cluster")
T = TypeVar("T")


async def _contain_exits(work: Work[T]) -> T:
    """Await foreign work; raise SystemExit and its like, which stop event loops, as an error."""
    try:
        return await work
    except BaseException as error:
        if isinstance(error, Exception) or is_cancellation(error):
            raise
        raise as_exception(error) from error


@runtime_checkable
class Launcher(Protocol):
    """An actor that launches a second object, which answers most of the actor's calls.

    The actor answers the calls that it has a method for; the launched object answers the others.
    The host launches the object when the process starts and, after a failure, at each call.
    """

    async def launch(self) -> object:
        """Return the object, launched once; raise the reason when it cannot be launched."""


def method_of(actor: object, name: str) -> Callable[..., Any]:
    """Return the method that answers calls of this name: the actor's, or its launched object's."""
    if not isinstance(actor, Launcher) or hasattr(actor, name):
        method: Callable[..., Any] = getattr(actor, name)
        return method

    async def call(*args: object) -> Any:
        return await getattr(await actor.launch(), name)(*args)

    return call


async def first_launch(actor: object) -> None:
    """Launch the object of a `Launcher` in a process that has just started."""
    if isinstance(actor, Launcher):
        try:
            await actor.launch()
        except Exception as error:  # the next call launches again, and raises the error
            log.debug("%s is not launched yet: %s", type(actor).__name__, error)


class ActorHost:
    """An actor's object, on an event loop of its own.

    Args:
        spec: The actor to host.
        cluster: Passed to the actor.
        node: The node of this process.

    Raises:
        PluginError: This process would run other plugins than the driver.
        Exception: The actor's constructor raised it.
    """

    def __init__(self, spec: ActorSpec, cluster: Cluster, node: Node) -> None:
        configure_actor_logging(own_process=cluster.kind != "local")
        for path in reversed(spec.import_paths):
            if path not in sys.path:
                sys.path.insert(0, path)
        check_same(installed(spec.plugins), spec.plugins)
        plugins = load(spec.plugins, strict=True)
        plugins.require(required_plugins())  # this machine may require more than the driver does
        context = ActorContext(cluster, spec.name, node, host_id(), socket_dir(), plugins)
        self._thread = LoopThread(spec.name)
        try:
            self._object = self._thread.submit(self._make(spec, context)).result()
            # Kept, because an event loop holds only weak references to its tasks.
            self._launching = self._thread.submit(first_launch(self._object))
        except BaseException:
            self._thread.stop()
            raise

    async def _make(self, spec: ActorSpec, context: ActorContext) -> object:
        if spec.is_helper:
            process = ProcessInfo("helper", spec.name, context.node.node_id)
            subject = f"process {spec.name}"
            context.plugins.call_robust(
                "on_process", subject=subject, process=process, runtime=None
            )
        return load_target(spec.target)(context, *spec.args)

    def submit(self, method: str, args: tuple[object, ...]) -> concurrent.futures.Future[Any]:
        """Call a method of the object and return a future. For calls from other threads.

        The calling thread runs a method that is not async, whatever the object's loop does.
        """
        function = method_of(self._object, method)
        if inspect.iscoroutinefunction(function):
            return self._thread.submit(_contain_exits(function(*args)))
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            answer.set_result(function(*args))
        except BaseException as error:  # the caller's to handle
            answer.set_exception(as_exception(error))
        return answer

    def abort(self) -> None:
        """End as a killed process does, as far as a thread can: close connections, then stop."""
        abort = getattr(self._object, "abort", None)
        try:
            if abort is not None:
                self._thread.submit(abort()).result()
        except BaseException:  # a plugin's code
            log.exception("an actor could not close its connections")
        finally:
            self._thread.stop()
