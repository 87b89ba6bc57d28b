"""R19: the proxy killed under load. `python -m tests.faults.proxy_kill [--peer ray_serve]`

`proxy_restart` does it to alacarte with many connections, and with several proxies on a node.
"""

from __future__ import annotations

import os
import signal
import time

from tests.faults.figures import Figure, at_most
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, main, pause

from alacarte.testing import wait_until

__all__ = ["kill", "scenario"]


def scenario(system: str, size: Size) -> list[Figure]:
    """The only proxy is killed with `kill -9` under load."""
    with running(system) as it:
        it.deploy("v0", options={"num_replicas": 2, "max_ongoing_requests": 20})
        return kill(it, size)


def kill(it: System, size: Size) -> list[Figure]:
    """Kill the proxy and wait until requests are answered again."""
    [(_, pid)] = it.proxies().items()
    with good_load(it.port, rate=min(size.rate, 50), app="alpha", timeout_s=5) as load:
        pause(time.monotonic() + 2)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not it.serves(), 10, "the end of the proxy")
        wait_until(it.serves, 90, "a proxy")
        pause(time.monotonic() + 3)
    back = min(
        each.ended for each in load.exchanges if not each.problem and each.due > killed + 0.05
    )
    late = load.within(back + 1)
    return [
        at_most("answers again after", back - killed, 3, "s"),
        Figure("failed meanwhile", load.failed),
        Figure("failed from 1 s after that", late.failed, "", "0", not late.failed),
        latencies("from 1 s after that", late),
    ]


if __name__ == "__main__":
    main(scenario)
