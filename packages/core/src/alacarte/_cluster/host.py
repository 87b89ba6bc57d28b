"""The host of an actor: the actor's object, and its event loop in a thread.

Both clusters use the same host. The owner of a host (Ray's actor process, the local cluster)
submits calls from another thread, which answers control calls itself, even while user code blocks
the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import hashlib
import inspect
import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

from .._logging import configure_actor_logging
from .._plugins import check_same, installed, load, required_plugins
from ..foreign import as_exception, is_cancellation, load_target
from ..types import ProcessInfo
from .cluster_protocol import ActorContext, ActorSpec, Cluster, Node

__all__ = [
    "ActorHost",
    "Launcher",
    "LoopThread",
    "first_launch",
    "host_id",
    "method_of",
    "new_event_loop",
    "num_cores",
    "socket_dir",
    "socket_path",
    "freeze_gc",
    "submit",
    "sweep_sockets",
]

log = logging.getLogger("alacarte.cluster")
T = TypeVar("T")
Work = Coroutine[Any, Any, T]
"""A coroutine that has not started yet."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it is installed, else asyncio's."""
    try:
        import uvloop  # absent on Windows and on some interpreters
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows bind no process to cores


def host_id() -> str:
    """Return an id of this host and its mount of `/tmp`, equal where Unix sockets are shared."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        boot = socket.gethostname()
    tmp = os.stat(tempfile.gettempdir())
    return hashlib.sha256(f"{boot} {tmp.st_dev} {tmp.st_ino}".encode()).hexdigest()[:16]


def socket_dir() -> str:
    """Return the directory for this user's sockets; create the directory if it is missing.

    Raises:
        PermissionError: Another user owns the directory, or may enter it.
    """
    # Short: the path of a Unix socket may have at most 107 characters.
    path = os.path.join(tempfile.gettempdir(), f"alacarte-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{path} must belong to this user and be closed to others (mode 700); remove it, or "
            "set TMPDIR."
        )
    return path


def socket_path(directory: str) -> str:
    """Return a new path for a Unix socket of this process."""
    return os.path.join(directory, f"{os.getpid()}-{secrets.token_hex(6)}.sock")


def sweep_sockets(directory: str) -> None:
    """Remove the sockets of killed processes, which could not remove them."""
    for name in os.listdir(directory):
        pid = name.partition("-")[0]
        if not name.endswith(".sock") or (pid.isdigit() and os.path.exists(f"/proc/{pid}")):
            continue
        path = os.path.join(directory, name)
        # The process may run in another PID namespace: only a refused connection is proof.
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def freeze_gc(cluster: Cluster) -> None:
    """Exclude all current objects from garbage collection, unless the user's program shares them.

    Modules and the user's model live as long as the process; scanning them again takes tens of
    milliseconds, in which no request is answered.
    """
    if cluster.kind != "local":
        gc.collect()
        gc.freeze()


class LoopThread:
    """An event loop that runs in a daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = new_event_loop()
        self._name = name
        self._lock = threading.Lock()
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ended:
            self._run_guarded(self.loop.run_forever)
            if self.loop.is_closed():  # by foreign code in another thread
                return
        # In this thread, since the caller of `stop` may run a loop of its own. A second time, for
        # work that was submitted while the loop stopped: callers wait for its futures.
        for cleanup in (_cancel_others(), self.loop.shutdown_asyncgens()):
            task = self.loop.create_task(cleanup)
            while not task.done():
                self._run_guarded(functools.partial(self.loop.run_until_complete, task))
        self.loop.close()

    def _run_guarded(self, run: Callable[[], object]) -> None:
        """Run the loop. Foreign code may stop it, by `loop.stop()` or from a task.

        A task that raises SystemExit or KeyboardInterrupt stops the loop. That exception ends its
        own task only: the caller runs the loop again, for all other tasks.
        """
        try:
            run()
        except BaseException as error:
            log.exception(
                "%s: a task raised %s, which ends this task only", self._name, type(error).__name__
            )

    def _end(self) -> None:
        self._ended = True
        self.loop.stop()

    def submit(self, work: Work[T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop and return its future. For calls from other threads.

        Raises:
            RuntimeError: The loop is stopping, or has stopped.
        """
        with self._lock:
            return submit(work, self.loop, refuse=self._stopping)

    def stop(self) -> None:
        """Cancel all tasks, stop the loop, and wait for the thread."""
        if self._stopping:
            self._thread.join()
            return
        self.submit(_cancel_others()).result()
        with self._lock:
            self._stopping = True
        self.loop.call_soon_threadsafe(self._end)
        self._thread.join()


def submit(
    work: Work[T], loop: asyncio.AbstractEventLoop, *, refuse: bool = False
) -> concurrent.futures.Future[T]:
    """Run a coroutine on a loop of another thread and return its future.

    Args:
        refuse: The loop accepts no more work, though it may still run.

    Raises:
        RuntimeError: The loop has stopped. The coroutine is closed, since no task will await it.
    """
    try:
        if refuse:
            raise RuntimeError("the event loop is stopping and takes no more work")
        return asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:
        work.close()
        raise


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


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
