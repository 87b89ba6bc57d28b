"""The runtime of this process, for packages that make calls."""

from __future__ import annotations

from ._plugins import current_hook_call
from .context import current_runtime
from .errors import ServeError
from .types import Runtime

__all__ = ["get_runtime"]


def get_runtime() -> Runtime:
    """Return the runtime calls from here go through.

    In a replica or node service it is that actor's own; in a driver the one that `serve.start`
    made; elsewhere on Ray (a task, another actor) the running instance is joined. In a hook, and in
    what makes a routing policy, it is the runtime of the process that asks, where there is one; no
    instance is joined from there.

    Raises:
        ServeError: No instance is running; or a hook calls it in a process without a runtime.
    """
    runtime = current_runtime.get()
    if runtime is not None and not runtime.loop.is_closed():
        return runtime
    if runtime is not None:
        raise ServeError(
            "the replica or service that this code belongs to has ended, or was forked; calls "
            "cannot be made from here. Start processes with multiprocessing's 'spawn' method."
        )
    if refusal := current_hook_call.get():
        raise ServeError(
            f"{refusal}, where this process has no runtime. Hooks that need one get it as an "
            "argument, or are called in processes that have one."
        )
    from .serve import _current  # only a driver needs the facade's half

    session = _current.current() or _current.attach()
    if session is None:
        raise ServeError("alacarte is not running; serve.start() or serve.run() an application.")
    if session.runtime.loop.is_closed():
        raise ServeError(
            "this process was forked from one that uses alacarte, and has none of its "
            "connections. Start processes with multiprocessing's 'spawn' method, or make the "
            "calls in the parent."
        )
    return session.runtime
