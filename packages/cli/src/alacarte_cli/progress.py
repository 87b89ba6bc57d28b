"""The progress of a start, which `alacarte run` shows."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from alacarte.errors import ServeError
from alacarte.status import ApplicationStatus, ReplicaState, ServeStatus

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

__all__ = ["Progress", "open_progress", "summary", "waiting_lines"]

_REFRESH_INTERVAL_S = 0.5
_JOIN_TIMEOUT_S = 2.0


class Progress(Protocol):
    """A display of the progress of a start."""

    def step(self, text: str, status: Callable[[], ServeStatus] | None = None) -> None:
        """Show the beginning of a step.

        Args:
            text: The name of the step: "starting greeter".
            status: Returns the status of the application, once it is starting.
        """

    def clear(self) -> None:
        """Remove the display from the terminal; `step` shows it again."""


def summary(status: ServeStatus, name: str) -> str:
    """Return the number of an application's ready replicas: "2 of 3 replicas ready"."""
    ready = target = 0
    app = status.applications.get(name)
    for deployment in app.deployments.values() if app else ():
        ready += deployment.replica_states.get(ReplicaState.RUNNING, 0)
        target += max(deployment.target_replicas, 0)
    return f"{ready} of {target} replica{'s' if target != 1 else ''} ready" if target else ""


def waiting_lines(status: ServeStatus, name: str) -> Iterator[str]:
    """Yield a line for each deployment that is not ready: ready replicas, and what it waits for."""
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
    """Show progress on stderr: a live display on a terminal, otherwise a line for each change."""
    out = sys.stderr if out is None else out
    # rich shows nothing on a terminal that cannot move its cursor, such as an editor's.
    is_live = out.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    progress = _LiveProgress(name) if is_live else _LineProgress(name, out)
    try:
        yield progress
    finally:
        progress.clear()


class _StatusWatch(ABC):
    """A progress that reads the status in a thread, until `clear`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._text = ""
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self, text: str, status: Callable[[], ServeStatus] | None = None) -> None:
        self._text = text
        self._show_step()
        if status is not None and self._thread is None:
            self._done = threading.Event()
            self._thread = threading.Thread(
                target=self._watch, args=(status, self._done), name="progress", daemon=True
            )
            self._thread.start()

    def clear(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(_JOIN_TIMEOUT_S)  # it may be waiting for a late answer
            self._thread = None

    def _watch(self, status: Callable[[], ServeStatus], done: threading.Event) -> None:
        while not done.wait(_REFRESH_INTERVAL_S):
            try:
                current = status()
            except ServeError:  # the controller does not answer; `serve.run` reports that
                continue
            if not done.is_set():
                self._show_status(current)

    @abstractmethod
    def _show_step(self) -> None:
        """Show the current step."""

    @abstractmethod
    def _show_status(self, status: ServeStatus) -> None:
        """Show the status of the application; called in the thread."""


class _LineProgress(_StatusWatch):
    """A progress that prints a line for each step, and for each change of ready replicas."""

    def __init__(self, name: str, out: IO[str]) -> None:
        super().__init__(name)
        self._out = out
        self._last = ""

    def _show_step(self) -> None:
        self._print(self._text)

    def _show_status(self, status: ServeStatus) -> None:
        replicas = summary(status, self._name)
        if replicas:
            self._print(f"{self._name}: {replicas}")

    def _print(self, line: str) -> None:
        if line != self._last:
            self._last = line
            print(line, file=self._out, flush=True)


class _LiveProgress(_StatusWatch):
    """A progress with a spinner, the step, and a line for each waiting deployment."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._live: Live | None = None
        self._spinner: Spinner | None = None
        self._status: ServeStatus | None = None
        self._since = time.monotonic()

    def _show_step(self) -> None:
        # Imported here: only terminals need these slow imports.
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=Console(stderr=True, highlight=False),
                get_renderable=self._renderable,
                refresh_per_second=8,
                transient=True,
                # Other output appears above the display.
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=True,
            )
            self._live.start()

    def clear(self) -> None:
        super().clear()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show_status(self, status: ServeStatus) -> None:
        self._status = status

    def _renderable(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        if self._spinner is None:
            self._spinner = Spinner("dots", style="cyan")
        replicas = summary(self._status, self._name) if self._status else ""
        elapsed = time.monotonic() - self._since
        head = Text.assemble(
            self._text, f": {replicas}" if replicas else "", (f"  {elapsed:.0f} s", "dim")
        )
        self._spinner.update(text=head)
        lines = waiting_lines(self._status, self._name) if self._status else ()
        return Group(self._spinner, *(Text(f"  {line}", style="dim") for line in lines))
