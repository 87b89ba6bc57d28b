"""Simulated time, with an event loop for each simulated process.

One scheduler runs the callbacks of all processes in one thread. When none is left to run, the time
jumps to the next timer. Killing a process drops its callbacks: its coroutines stop where they are,
without running their `finally` blocks.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import Any

__all__ = ["Process", "Scheduler", "Stuck"]

START = 1000.0
"""What a monotonic clock shows at first: anything but 0."""


class Stuck(Exception):
    """The world can make no progress, or runs without end."""


class _Handle:
    """A callback that is due, as `asyncio.Handle` and `asyncio.TimerHandle`."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled", "process")

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        when: float = 0.0,
    ) -> None:
        self.process = process
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.is_cancelled = False
        self._when = when

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class Process(asyncio.AbstractEventLoop):
    """A process: an event loop whose callbacks run while it is alive and not frozen.

    Attributes:
        name: Name of the process in the trace.
        alive: The process runs; set by the cluster.
        frozen: "stopped" as by SIGSTOP, or "blocked" by user code; "" while it runs.
        frozen_at: Time of the last freeze, and `thawed_at` of its end.
        network: Creates the process's connections; see `network.py`.
        place: The replica of the process, for user code.
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = ""
        self.frozen_at = 0.0
        self.thawed_at = 0.0
        self.network: Any = None
        self.place: Any = None
        self.complaints: list[dict[str, Any]] = []
        self._scheduler = scheduler
        self._backlog: list[_Handle] = []
        # What arrives from outside runs here, so that nothing of one process leaks into another.
        self._context = Context()

    def __repr__(self) -> str:
        return f"<process {self.name}>"

    def kill(self) -> None:
        """Drop all callbacks of the process."""
        self.alive = False
        self._backlog.clear()

    def freeze(self, how: str) -> None:
        """Suspend the process until `thaw`; keep its callbacks."""
        if not self.frozen:
            self.frozen_at = self._scheduler.now
        self.frozen = how

    def thaw(self) -> None:
        """Resume the process with all callbacks that have arrived meanwhile."""
        if self.frozen:
            self.thawed_at = self._scheduler.now
        self.frozen = ""
        backlog, self._backlog = self._backlog, []
        self._scheduler.ready.extend(backlog)

    def post(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback in this process after a delay, unless the process is dead by then."""
        if self.alive:
            scheduler = self._scheduler
            when = scheduler.now + delay
            scheduler.push(_Handle(self, callback, args, self._context, when), when)

    def soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Run something in this process next, before time passes."""
        if self.alive:
            self._scheduler.ready.append(_Handle(self, callback, args, self._context))

    def keep(self, handle: _Handle) -> None:
        self._backlog.append(handle)

    # --- asyncio.AbstractEventLoop ------------------------------------------------------

    def time(self) -> float:
        return self._scheduler.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(self, callback, args, context)
        self._scheduler.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        return self.call_at(self._scheduler.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        handle = _Handle(self, callback, args, context, when)
        # The interpreter closes the coroutines of dead processes whenever it likes: they have no
        # effect, not even on what chance draws next.
        if self.alive:
            self._scheduler.push(handle, when)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name or "", context=context)

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        """Run the function at once: the simulation has one thread."""
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive:
            self.complaints.append(context)

    async def create_connection(self, factory: Any, *address: Any, **_: Any) -> Any:
        return await self.network.connect(self, factory, address)

    async def create_server(self, factory: Any, *address: Any, **_: Any) -> Any:
        return self.network.listen(self, factory, address)


class Scheduler:
    """Runs the callbacks of all processes, one at a time.

    Attributes:
        now: The time on the monotonic clock of all processes.
        steps: Number of callbacks so far.
        break_at: `on_break` is called before this step.
    """

    def __init__(self, chance: random.Random) -> None:
        self.now = START
        self.steps = 0
        self.break_at = -1
        self.on_break: Callable[[], None] = lambda: None
        self.ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, float, int, _Handle]] = []
        self._pushed = 0
        self._draw = chance.random

    def process(self, name: str) -> Process:
        return Process(self, name)

    def push(self, handle: _Handle, when: float) -> None:
        """Add a timer. Timers that are due at the same time fire in random order."""
        self._pushed += 1
        heappush(self._timers, (when, self._draw(), self._pushed, handle))

    def run(self, is_over: Callable[[], bool], until: float) -> None:
        """Run until that is so, looked at whenever time passes.

        Raises:
            Stuck: It was not so until the time given, or nothing is left to wait for.
        """
        ready = self.ready
        current: Process | None = None
        before = events._get_running_loop()
        try:
            while not is_over():
                handle = self._next_timer()
                if handle is None:
                    raise Stuck("everything waits, and nothing will ever happen")
                if self.now > until:
                    raise Stuck(f"it is not done after {until - START:g} s")
                ready.append(handle)
                while ready:
                    handle = ready.popleft()
                    process = handle.process
                    if handle.is_cancelled or not process.alive:
                        continue
                    if process.frozen:
                        process.keep(handle)
                        continue
                    self.steps += 1
                    if self.steps == self.break_at:
                        self.on_break()
                        if process.frozen or not process.alive:
                            ready.appendleft(handle)
                            continue
                    if process is not current:
                        events._set_running_loop(process)
                        current = process
                    try:
                        handle.context.run(handle.callback, *handle.args)
                    except Exception as error:
                        process.call_exception_handler({"exception": error})
        finally:
            events._set_running_loop(before)

    def _next_timer(self) -> _Handle | None:
        """Advance the time to the next timer, and return the timer."""
        timers = self._timers
        while timers:
            when, _, _, handle = heappop(timers)
            if not handle.is_cancelled and handle.process.alive:
                if when > self.now:
                    self.now = when
                return handle
        return None
