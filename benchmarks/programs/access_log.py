"""A short answer with the access log on and off in turns, each on a new instance.

A line on standard input begins the next turn; its end ends the program.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import processes
from program import init_ray, port_is_open, report, serve, start, stop, wait_for

LOG = Path(os.environ["BENCH_TMP"]) / "access.log"


@serve.deployment(max_ongoing_requests=100)
class Hello:
    async def __call__(self, request):
        return "hello"


def main() -> None:
    init_ray()
    for style in itertools.cycle(("json", "off")):
        start(Hello.bind(), access_log=style, access_log_path=str(LOG))
        processes.settle(os.getpid())
        report(access_log=style, lines=_lines())
        if not sys.stdin.readline():
            break
        serve.shutdown()
        if not wait_for(lambda: not port_is_open(), limit_s=30):
            raise AssertionError("the port was still open 30 s after serve.shutdown")
    stop()


def _lines() -> int:
    """Count what was noted so far."""
    if not LOG.exists():
        return 0
    with LOG.open("rb") as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    main()
