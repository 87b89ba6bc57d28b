"""The workloads: which program each runs, on which peers, and what it measures there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import memory, web
from .peers import environment
from .programs import PROGRAMS, ProgramError
from .run import START_TIMEOUT_S, Run, Values


def driven(name: str) -> Callable[[Run], Values]:
    """Give the workload that runs a program and takes its word."""

    def run_program(run: Run) -> Values:
        with run.program(f"{name}.py") as program:
            return program.finding(START_TIMEOUT_S + 12 * run.settings.seconds)

    return run_program


def imports(run: Run) -> Values:
    """Take the best of several imports, each in a fresh interpreter."""
    env = environment(run.peer)
    found: list[dict[str, Any]] = []
    for _ in range(run.settings.imports + 1):  # one more, to write the bytecode
        done = subprocess.run(
            [str(run.python), str(PROGRAMS / "import_time.py")],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise ProgramError(f"the import failed:\n{done.stderr[-1000:]}")
        found.append(json.loads(done.stdout)["bench"])
    foreign = found[-1]["foreign"]
    if foreign and run.peer.name == "alacarte":
        run.complain(f"`from alacarte import serve` imports {', '.join(foreign)}")
    best = {key: min(each[key] for each in found) for key in ("import_ms", "import_used_ms")}
    return best | {"import_foreign": len(foreign)}


@dataclass(frozen=True)
class Workload:
    """The work behind one row of the table.

    Attributes:
        name: As given to `--only`.
        measure: Runs it once on one peer.
        peers: Who can run it.
        by_default: Who runs it unless it is asked for with `--only`.
        absent: Who cannot run it, and why, for the reader of the table.
    """

    name: str
    measure: Callable[[Run], Values]
    peers: tuple[str, ...] = ("alacarte", "ray")
    by_default: tuple[str, ...] | None = None
    absent: dict[str, str] = field(default_factory=dict)

    def chosen(self, peers: list[str], asked: bool) -> list[str]:
        """Choose among `peers` those that run it now."""
        allowed = self.peers if asked or self.by_default is None else self.by_default
        return [name for name in peers if name in allowed]


_HTTP = ("alacarte", "ray", "ray-fast", "starlette")
_FASTAPI = ("alacarte", "ray", "ray-fast", "fastapi")
_SERVE = ("alacarte", "ray", "ray-fast")
_DEFAULT = ("alacarte", "ray")
_TOO_LARGE = (
    "a call between deployments carries 4 MiB at most there, unless its switch for that is set, "
    "and the array has 16 MB"
)
WORKLOADS = (
    Workload("hello", web.HELLO, (*_HTTP, "mosec")),
    Workload("two_hop", web.TWO_HOP, _SERVE),
    Workload("connections", web.CONNECTIONS_SERVED, _HTTP),
    Workload("bodies", web.BODIES, _HTTP),
    Workload("chunks", web.CHUNKS_SERVED, _HTTP),
    Workload("route", web.ROUTE, _FASTAPI),
    Workload("websocket", web.WEBSOCKET, _FASTAPI),
    Workload("endpoint", web.endpoint, ("alacarte",)),
    Workload("access_log", web.access_log, ("alacarte",)),
    Workload("handles", web.HANDLES, _SERVE),
    Workload("stream", web.STREAM, _SERVE),
    Workload("numpy_echo", web.NUMPY_ECHO, _DEFAULT, absent={"ray-fast": _TOO_LARGE}),
    # Of the fast mode, what it does to requests is measured; the rest when asked for.
    *(
        Workload(name, driven(name), _SERVE, by_default=_DEFAULT)
        for name in ("lifecycle", "replicas", "update", "scale_up", "idle_controller")
    ),
    Workload("import_time", imports),
    Workload("replica_memory", driven("replica_memory"), _SERVE, by_default=_DEFAULT),
    # 200,000 requests take Ray Serve a quarter of an hour, and no goal compares them.
    Workload("aborts", memory.aborts, _SERVE, by_default=("alacarte",)),
    # What Ray Serve has not sent on it keeps; 2 GB of that are not what others' runs should meet.
    Workload("large_bodies", memory.large_bodies, _SERVE, by_default=("alacarte",)),
)
