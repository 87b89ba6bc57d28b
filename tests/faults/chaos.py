"""R39: faults at random. `python -m tests.faults.chaos [--seed N] [--full]`"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter

from tests.faults.figures import Figure, at_least, at_most, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import FULL, SHORT, Size, latencies, lost, pause

from alacarte.testing import wait_until

__all__ = ["Faults", "scenario"]

_OPTIONS = {
    "num_replicas": 3,
    "max_ongoing_requests": 20,
    "health_check_period_s": 2,
    "health_check_timeout_s": 4,
}


class Faults:
    """Things that happen to an instance, drawn with a seed."""

    def __init__(self, it: System, seed: int) -> None:
        self._it = it
        self._random = random.Random(seed)
        self._version = 0
        self.done: Counter[str] = Counter()
        self.times: list[float] = []
        self._kinds = {
            "replica killed": self.kill_replica,
            "controller killed": self.kill_controller,
            "replica stopped for a while": self.stop_replica,
            "new code": self.update,
            "another number of replicas": self.scale,
            "code that does not start": self.update_badly,
        }

    def one(self) -> None:
        """Have something happen."""
        name = self._random.choice(list(self._kinds))
        self.done[name] += 1
        self.times.append(time.monotonic())
        self._kinds[name]()

    def _victim(self) -> int:
        found = sorted(self._it.replicas().items())
        return self._random.choice(found)[1] if found else 0

    def kill_replica(self) -> None:
        self._signal(self._victim(), signal.SIGKILL)

    def kill_controller(self) -> None:
        for name, pid in self._it.processes().items():
            if "controller" in name.lower():
                self._signal(pid, signal.SIGKILL)

    def stop_replica(self) -> None:
        victim = self._victim()
        self._signal(victim, signal.SIGSTOP)
        pause(time.monotonic() + self._random.uniform(0.2, 1.5))
        self._signal(victim, signal.SIGCONT)

    def update(self) -> None:
        self._version += 1
        self._it.deploy(f"c{self._version}", options=_OPTIONS, wait=False)

    def scale(self) -> None:
        options = {**_OPTIONS, "num_replicas": self._random.randint(2, 4)}
        self._it.deploy(f"c{self._version}", options=options, wait=False)

    def update_badly(self) -> None:
        self._it.deploy("bad", options=_OPTIONS, arguments={"start": "raise"}, wait=False)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)


def scenario(system: str, size: Size, seed: int = 7) -> list[Figure]:
    """Every one to three seconds a fault, or a deployment, drawn with a seed that is printed."""
    with running(system) as it:
        it.deploy("c0", options=_OPTIONS)
        faults = Faults(it, seed)
        pacing = random.Random(seed)
        with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
            end = time.monotonic() + 2 * size.seconds
            while time.monotonic() < end:
                faults.one()
                pause(time.monotonic() + pacing.uniform(1, 3))
            last = time.monotonic()
            it.deploy("last", options=_OPTIONS)
            converged_s = time.monotonic() - last
            pause(time.monotonic() + 3)
        wait_until(lambda: len(it.replicas()) == 3, 30, "three replicas")
    share = 100 * (1 - load.failed / load.count)
    told = ", ".join(f"{count} × {name}" for name, count in faults.done.items())
    return [
        Figure("faults", faults.done.total(), text=f"{told} (seed {seed})"),
        at_least("answered", share, 99.0, "%"),
        lost("", load, 20 * faults.done["replica killed"], " (in flight at deaths)"),
        latencies("", load),
        lost("after the last deployment", load.within(last + converged_s)),
        at_most("a good version runs after", converged_s, 10, "s"),
        exactly(
            "answers of anything else after that",
            sum(
                each.version != "last"
                for each in load.within(last + converged_s).exchanges
                if not each.problem
            ),
            0,
        ),
    ]


if __name__ == "__main__":
    from tests.faults.figures import markdown

    given = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 7
    peer = "ray_serve" if "ray_serve" in sys.argv else "alacarte"
    found = scenario(peer, FULL if "--full" in sys.argv else SHORT, given)
    print(markdown(found))
    sys.exit(not all(figure.met for figure in found))
