"""R7: capacity goes for two seconds and comes back. `python -m tests.faults.metastability`

A second, `--plot FILE`, asks both systems and draws what became of each second's requests.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.faults.figures import Figure, at_most
from tests.faults.load import Load, good_load
from tests.faults.plot import Panel, figure_of
from tests.faults.systems import ALACARTE, RAY_SERVE, System, running
from tests.faults.trial import FULL, SHORT, Size, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["TRIALS", "TRIGGERS", "Series", "figures_of", "scenario", "take_away"]

_ONGOING = 5
_PAUSE_S = 0.05
CAPACITY = _ONGOING / _PAUSE_S
"""Requests a second that the one replica can answer."""
TRIGGERS = ("freeze", "kill", "update")
_EACH = [("kill", 0.2), ("kill", 0.5), ("kill", 0.8), ("freeze", 0.5), ("update", 0.5)]
TRIALS = {"full": _EACH, "peer": _EACH, "short": [("freeze", 0.5), ("kill", 0.8)]}
"""What is done in a run of each size."""
_BEFORE_S = 4
_GAP_S = 2.0
_PATIENCE_S = 5


class Series:
    """A load around a gap: what was asked when capacity went, and what when it was back."""

    def __init__(self, load: Load, went: float, back: float) -> None:
        self.load = load
        self.went = went
        self.back = back

    def seconds(self) -> list[tuple[float, int, int, float]]:
        """For each second: since the gap began, answered, failed, and the median time in ms."""
        began = self.load.exchanges[0].due
        last = int(self.load.exchanges[-1].due - began)
        rows = []
        for second in range(last):
            part = self.load.within(began + second, began + second + 1)
            at = began + second - self.went
            rows.append((at, part.count - part.failed, part.failed, part.took_ms(0.5)))
        return rows


def scenario(system: str, size: Size) -> list[Figure]:
    """One replica at 20, 50 and 80 % of its capacity, which is taken away for 2 s and given back.

    By SIGSTOP for 2 s; by `kill -9` where a start takes 2 s; and by a deployment of new code. What
    waits is worked off with what is left of the capacity, and 3 s after that all is as it was.
    """
    figures = []
    with running(system) as it:
        for trigger, share in TRIALS[size.name]:
            figures += figures_of(take_away(it, size, trigger, share), trigger, share)
    return figures


def take_away(it: System, size: Size, trigger: str, share: float) -> Series:
    """Load one replica to a share of its capacity, take it away, give it back, and go on."""
    start_s = 0.0 if trigger == "freeze" else _GAP_S
    options = {"num_replicas": 1, "max_ongoing_requests": _ONGOING}
    arguments = {"pause_s": _PAUSE_S, "start_s": start_s}
    it.deploy("before", options=options, arguments=arguments)
    [pid] = it.replicas().values()
    with good_load(it.port, rate=share * CAPACITY, app="alpha", timeout_s=_PATIENCE_S) as load:
        pause(time.monotonic() + _BEFORE_S)
        went = time.monotonic()
        if trigger == "freeze":
            os.kill(pid, signal.SIGSTOP)
            pause(went + _GAP_S)
            os.kill(pid, signal.SIGCONT)
        elif trigger == "kill":
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: pid not in it.replicas().values(), 30, "the end of the replica")
            wait_until(lambda: _runs(it), 60, "another replica")
        else:
            it.deploy("after", options=options, arguments=arguments)
        back = time.monotonic()
        pause(back + (back - went) * share / (1 - share) + 3 + size.seconds / 3)
    it.ask("delete", app="alpha")
    return Series(load, went, back)


def _runs(it: System) -> bool:
    found = it.status()
    return found["status"] == "RUNNING" and found["replicas"] == {"Worker": {"RUNNING": 1}}


def figures_of(series: Series, trigger: str, share: float) -> list[Figure]:
    """What was lost, and when all was normal again."""
    load = series.load
    what = f"{trigger} at {share:.0%}"
    usual = load.took_ms(0.99, until=series.went - 0.5)
    # Those of the gap wait; what is left of the capacity works them off.
    work_off_s = (series.back - series.went) * share / (1 - share)
    late = series.back + work_off_s + 3
    allowed = {"freeze": 0, "kill": _ONGOING, "update": 0}[trigger]
    return [
        lost(f"{what}: until 3 s after the backlog", load.within(0, late), allowed),
        lost(f"{what}: later", load.within(late)),
        at_most(f"{what}: p99 later", load.took_ms(0.99, late), max(1.5 * usual, usual + 25), "ms"),
    ]


def plot(path: Path, size: Size, share: float) -> None:
    """Draw the seconds of both systems, for each trigger."""
    panels = []
    for system, title in ((ALACARTE, "alacarte"), (RAY_SERVE, "Ray Serve 2.60")):
        with running(system) as it:
            for trigger in TRIGGERS:
                rows = take_away(it, size, trigger, share).seconds()
                panels.append(Panel(f"{title}: {trigger}", rows))
    path.write_text(figure_of(panels, columns=len(TRIGGERS)))


if __name__ == "__main__":
    if "--plot" in sys.argv:
        at = sys.argv.index("--plot")
        plot(Path(sys.argv[at + 1]), FULL if "--full" in sys.argv else SHORT, 0.5)
    else:
        main(scenario)
