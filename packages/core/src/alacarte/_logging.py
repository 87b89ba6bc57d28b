"""Default logging: handlers of drivers and actors, and replica and request in each record."""

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
"""The replica of this process, for threads without a context; None in other processes."""


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, which programs replace for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging() -> None:
    """Send the log of `alacarte` to stderr, unless the program has configured logging."""
    logger = logging.getLogger("alacarte")
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(_PLAIN))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def configure_actor_logging(*, own_process: bool) -> None:
    """Add deployment, replica and request to each record; format records without a handler.

    Handlers, formatters and levels of user code remain in force: only the handler of last resort
    is replaced, which Python uses for a program without handlers.

    Args:
        own_process: Whether alacarte started this process, so that no user program runs in it.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(make))
    logging.lastResort = _LastResort(own_process=own_process)


def name_process(replica: ReplicaContext) -> None:
    """Set the replica of this whole process, for threads that user code starts."""
    global _process
    _process = replica


class _RecordFactory:
    """Makes log records with the current deployment, replica and request.

    The attributes have the prefix `serve_`, since logging refuses `extra={"request_id": ...}` for a
    record with an attribute of that name.
    """

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: object, **kwargs: object) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        replica, call = current_replica.get() or _process, current_call.get()
        record.serve_deployment = "" if replica is None else str(replica.deployment_id)
        record.serve_replica = "" if replica is None else replica.replica_id
        record.serve_request_id = "-" if call is None else call.request_id
        return record


class LineFormatter(logging.Formatter):
    """Formats records of replicas with replica and request, other records without.

    Args:
        bare: Whether records from outside of replicas are formatted as the message alone.
    """

    def __init__(self, *, bare: bool = False) -> None:
        super().__init__("%(message)s" if bare else _PLAIN)
        self._in_replica = logging.Formatter(_REPLICA)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, followed by its traceback."""
        if getattr(record, "serve_replica", ""):
            return self._in_replica.format(record)
        return super().format(record)


class _LastResort(_Stderr):
    """Writes records without a handler to stderr."""

    def __init__(self, *, own_process: bool) -> None:
        super().__init__()
        self._own_process = own_process
        self.setFormatter(LineFormatter(bare=not own_process))

    def filter(self, record: logging.LogRecord) -> Any:
        """Return whether to write a record: outside of replicas, warnings and errors only."""
        shown = self._own_process or bool(getattr(record, "serve_replica", ""))
        return (shown or record.levelno >= logging.WARNING) and super().filter(record)
