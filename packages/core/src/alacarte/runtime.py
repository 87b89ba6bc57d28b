"""Access to the runtime of this process, for packages that make calls."""

from __future__ import annotations

from ._plugins import current_hook_call
from .context import current_runtime
from .errors import ServeError
from .types import Runtime

__all__ = ["get_runtime"]


def get_runtime() -> Runtime:
    """Return the runtime for calls of the current code.

    A replica or node service has its own runtime, and a driver the runtime of `serve.start`. Any
    other process on Ray (a task, another actor) connects to the running instance. A hook, or
    `PolicyFactory.create`, gets the runtime of its process, and never connects to an instance.

    Raises:
        ServeError: No instance is running, or a hook runs in a process without a runtime.
    """
    runtime = current_runtime.get()
    if runtime is not None and not runtime.loop.is_closed():
        return runtime
    if runtime is not None:
        raise ServeError(
            "the replica or service of this code has ended, or this process was forked from it, so "
            "it cannot make calls. Start processes with multiprocessing's 'spawn' method."
        )
    if refusal := current_hook_call.get():
        raise ServeError(
            f"{refusal}, but this process has no runtime. Use the hook's argument `runtime`, or a "
            "hook of a process that makes calls."
        )
    from .serve import _current  # only a driver needs a session

    session = _current.current() or _current.attach()
    if session is None:
        raise ServeError("alacarte is not running; call serve.start() or serve.run(app) first.")
    if session.runtime.loop.is_closed():
        raise ServeError(
            "this process was forked from a process that uses alacarte, and cannot use its "
            "connections. Start processes with multiprocessing's 'spawn' method, or make the "
            "calls in the parent."
        )
    return session.runtime
