"""Where lines of the log go when the program has not decided, and what each of them says."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

from .context import ReplicaContext, current_call, current_replica

__all__ = ["LineFormatter", "configure_actor_logging", "configure_logging", "name_process"]

_PLAIN = "%(levelname)s %(asctime)s %(name)s -- %(message)s"
_REPLICA = (
    "%(levelname)s %(asctime)s %(serve_replica)s %(serve_request_id)s %(name)s -- %(message)s"
)

_process: ReplicaContext | None = None
"""The replica that this process is, for threads that know nothing of it; None for no replica."""


class _Stderr(logging.StreamHandler[TextIO]):
    """Prints to whatever stderr is at that moment: programs replace it for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging() -> None:
    """Send `alacarte`'s log to stderr, unless the program has set logging up itself."""
    logger = logging.getLogger("alacarte")
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(_PLAIN))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def configure_actor_logging(*, own_process: bool) -> None:
    """Give each record its deployment, replica and request; format those that nobody handles.

    Handlers, formatters and levels that user code sets remain in force: only the handler of last
    resort is replaced, which Python uses where a program has none, and which prints the message
    alone.

    Args:
        own_process: Nobody's program runs in this process, so every line is ours to format.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(make))
    logging.lastResort = _LastResort(own_process=own_process)


def name_process(replica: ReplicaContext) -> None:
    """Say that this whole process is a replica, the user's own threads included."""
    global _process
    _process = replica


class _RecordFactory:
    """Makes log records that know where they were made.

    The attributes have a prefix: `extra={"request_id": ...}` of user code would be refused where
    the record has one of that name.
    """

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        replica, call = current_replica.get() or _process, current_call.get()
        record.serve_deployment = "" if replica is None else str(replica.deployment_id)
        record.serve_replica = "" if replica is None else replica.replica_id
        record.serve_request_id = "-" if call is None else call.request_id
        return record


class LineFormatter(logging.Formatter):
    """Formats lines of replicas with replica and request, and others without.

    Args:
        bare: Lines from outside of replicas are their message alone, as Python prints them.
    """

    def __init__(self, *, bare: bool = False) -> None:
        super().__init__("%(message)s" if bare else _PLAIN)
        self._in_replica = logging.Formatter(_REPLICA)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where the record has one."""
        if getattr(record, "serve_replica", ""):
            return self._in_replica.format(record)
        return super().format(record)


class _LastResort(_Stderr):
    """Prints what no handler takes."""

    def __init__(self, *, own_process: bool) -> None:
        super().__init__()
        self._own_process = own_process
        self.setFormatter(LineFormatter(bare=not own_process))

    def filter(self, record: logging.LogRecord) -> Any:
        """Outside of replicas, Python prints warnings and errors only."""
        shown = self._own_process or bool(getattr(record, "serve_replica", ""))
        return (shown or record.levelno >= logging.WARNING) and super().filter(record)
