"""What `alacarte run` shows while an application comes up."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from alacarte.errors import ServeError
from alacarte.status import ApplicationStatus, ReplicaState, ServeStatus

__all__ = ["Progress", "lines", "open_progress", "summary"]

_REFRESH_S = 0.5
_STOP_S = 2.0


class Progress(Protocol):
    """Shows how far a start has come."""

    def step(self, text: str, status: Callable[[], ServeStatus] | None = None) -> None:
        """Say what is done now.

        Args:
            status: Tells how the application is doing, where it is on its way.
        """

    def clear(self) -> None:
        """Leave the terminal to what is printed next; `step` begins again."""


def summary(status: ServeStatus, name: str) -> str:
    """Return how many replicas of an application are ready: "2 of 3 replicas ready"."""
    ready = wanted = 0
    app = status.applications.get(name)
    for deployment in app.deployments.values() if app else ():
        ready += deployment.replica_states.get(ReplicaState.RUNNING, 0)
        wanted += max(deployment.target_replicas, 0)
    return f"{ready} of {wanted} replica{'s' if wanted != 1 else ''} ready" if wanted else ""


def lines(status: ServeStatus, name: str) -> Iterator[str]:
    """Yield a line for each deployment that is not ready yet: how far it is, what it waits for."""
    app = status.applications.get(name)
    if app is None or app.status is ApplicationStatus.RUNNING:
        return
    for deployment, each in app.deployments.items():
        ready = each.replica_states.get(ReplicaState.RUNNING, 0)
        if ready >= each.target_replicas:
            continue
        text = f"{deployment}: {ready} of {each.target_replicas} ready"
        starting = each.replica_states.get(ReplicaState.STARTING, 0)
        if each.waiting_for:
            text += ", waits for " + each.waiting_for.partition("; ")[0]
        elif starting:
            text += f", {starting} starting"
        yield text


@contextmanager
def open_progress(name: str, out: IO[str] | None = None) -> Iterator[Progress]:
    """Show progress on stderr: a display on a terminal, else a line where something changes."""
    out = sys.stderr if out is None else out
    # On a terminal that cannot move its cursor, such as an editor's, rich shows nothing at all.
    moves = out.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    progress = _Display(name) if moves else _Lines(name, out)
    try:
        yield progress
    finally:
        progress.clear()


class _Watched(ABC):
    """Asks for the status in a thread, until `clear`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._text = ""
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self, text: str, status: Callable[[], ServeStatus] | None = None) -> None:
        self._text = text
        self._began()
        if status is not None and self._thread is None:
            self._done = threading.Event()
            self._thread = threading.Thread(
                target=self._watch, args=(status, self._done), name="progress", daemon=True
            )
            self._thread.start()

    def clear(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)  # it may be waiting for an answer that is late
            self._thread = None

    def _watch(self, status: Callable[[], ServeStatus], done: threading.Event) -> None:
        while not done.wait(_REFRESH_S):
            try:
                found = status()
            except ServeError:  # the controller is away; whoever starts the application says so
                continue
            if not done.is_set():
                self._show(found)

    @abstractmethod
    def _began(self) -> None:
        """Show the step that has begun."""

    @abstractmethod
    def _show(self, status: ServeStatus) -> None:
        """Show how the application is doing; called in the thread."""


class _Lines(_Watched):
    """Prints a line for each step, and one whenever more replicas are ready."""

    def __init__(self, name: str, out: IO[str]) -> None:
        super().__init__(name)
        self._out = out
        self._last = ""

    def _began(self) -> None:
        self._say(self._text)

    def _show(self, status: ServeStatus) -> None:
        found = summary(status, self._name)
        if found:
            self._say(f"{self._name}: {found}")

    def _say(self, line: str) -> None:
        if line != self._last:
            self._last = line
            print(line, file=self._out, flush=True)


class _Display(_Watched):
    """Shows a spinner, the step, and what each deployment waits for; gone when it is done."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._live: Any = None
        self._spinner: Any = None
        self._status: ServeStatus | None = None
        self._since = time.monotonic()

    def _began(self) -> None:
        # Here, since only a terminal needs them and they take a while to import.
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=Console(stderr=True, highlight=False),
                get_renderable=self._renderable,
                refresh_per_second=8,
                transient=True,
                # What is printed meanwhile appears above the display.
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=True,
            )
            self._live.start()

    def clear(self) -> None:
        super().clear()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, status: ServeStatus) -> None:
        self._status = status

    def _renderable(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        if self._spinner is None:
            self._spinner = Spinner("dots", style="cyan")
        found = summary(self._status, self._name) if self._status else ""
        elapsed = time.monotonic() - self._since
        head = Text.assemble(
            self._text, f": {found}" if found else "", (f"  {elapsed:.0f} s", "dim")
        )
        self._spinner.update(text=head)
        waits = lines(self._status, self._name) if self._status else ()
        return Group(self._spinner, *(Text(f"  {line}", style="dim") for line in waits))
