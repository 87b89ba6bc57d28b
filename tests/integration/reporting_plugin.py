"""A plugin that notes down, in a file, what the controller holds of each process's reports."""

from __future__ import annotations

import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

from alacarte.hookspecs import hookimpl
from alacarte.types import NodeServiceSpec, ProcessId, ReportTopic, Runtime

__all__ = ["Pad", "Ledger", "ledger_file"]


def ledger_file() -> Path:
    """Return the file, in the directory that all processes of the tests share."""
    return Path(tempfile.gettempdir()) / "ledger.json"


class Ledger:
    """The receiver. Each controller has one, which begins empty."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(4)
        self._values: dict[ProcessId, Any] = {}

    def report(self, process: ProcessId, value: Any) -> None:
        self._values[process] = value
        self._write()

    def forget(self, process: ProcessId) -> None:
        self._values.pop(process, None)
        self._write()

    def _write(self) -> None:
        path = ledger_file()
        new = path.with_suffix(".new")
        new.write_text(json.dumps([self._id, sorted(self._values.values())]))
        new.replace(path)


class Pad:
    """A node service that reports the last message it has got."""

    async def start(self, runtime: Runtime) -> dict[str, str]:
        self._runtime = runtime
        return {}

    async def receive(self, message: bytes) -> bytes:
        self._runtime.report("ledger", f"service: {message.decode()}")
        return message[::-1]

    async def drain(self, limit_s: float, *, replaced: bool) -> None: ...

    async def stop(self) -> None: ...


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    return [ReportTopic("ledger", Ledger)]


@hookimpl
def register_node_services() -> list[NodeServiceSpec]:
    return [NodeServiceSpec("pad", "tests.integration.reporting_plugin:Pad")]
