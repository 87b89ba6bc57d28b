"""Retries of controller calls, and the detection of an instance's end."""

from __future__ import annotations

import pytest

from alacarte._process.controller_client import ControllerGone, OtherInstance, check_instance
from alacarte._process.controller_retry import (
    DRIVER_LIMITS,
    JOIN_LIMITS,
    NO_RETRY,
    EndDetector,
    FailureCause,
    ProbeResult,
    RetryLimits,
    RetryState,
)
from alacarte.actors import InstanceInfo
from alacarte.testing import FakeClock


def waited(cause: FailureCause, limits: RetryLimits) -> float:
    """Return the total time that a caller waits for a controller that never comes back."""
    clock = FakeClock()
    began = clock()
    retries = RetryState(clock(), limits)
    while (pause_s := retries.next_pause_s(cause, clock())) is not None:
        clock.advance(pause_s)
    return clock() - began


@pytest.mark.parametrize(
    ("limits", "restarting_s", "gone_s", "silent_s"),
    [
        (DRIVER_LIMITS, 300, 3, 15),
        (JOIN_LIMITS, 300, 0, 15),
        (NO_RETRY, 0, 0, 0),
        (RetryLimits(7, 8, 9), 7, 8, 9),
    ],
)
def test_the_reason_decides_how_long_is_waited(limits, restarting_s, gone_s, silent_s):
    """A restart has minutes, an unknown name seconds; callers may have shorter limits."""
    assert waited(FailureCause.RESTARTING, limits) == pytest.approx(restarting_s, abs=1)
    assert waited(FailureCause.GONE, limits) == pytest.approx(gone_s, abs=1)
    assert waited(FailureCause.CLUSTER_UNRESPONSIVE, limits) == pytest.approx(silent_s, abs=1)


def test_pauses_grow_to_a_second():
    """The first retries come soon, because most restarts are short."""
    retries = RetryState(0.0)
    pauses = [retries.next_pause_s(FailureCause.RESTARTING, float(second)) for second in range(8)]
    assert pauses == [0.1, 0.1, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0]


def test_another_reason_has_its_own_time():
    """Each cause has its own limit: a restart may follow an outage of the cluster."""
    retries = RetryState(0.0)
    assert retries.next_pause_s(FailureCause.CLUSTER_UNRESPONSIVE, 10.0) is not None
    assert retries.next_pause_s(FailureCause.RESTARTING, 20.0) is not None
    assert retries.next_pause_s(FailureCause.CLUSTER_UNRESPONSIVE, 30.0) is not None
    assert retries.next_pause_s(FailureCause.CLUSTER_UNRESPONSIVE, 46.0) is None
    assert retries.next_pause_s(FailureCause.RESTARTING, 301.0) is None, "five minutes in all"


def test_a_wait_is_told_after_ever_longer_pauses():
    """Nothing is logged in the first two seconds; the end is logged only after a first line."""
    retries = RetryState(0.0)
    told: list[str] = []
    for second in range(100):
        retries.next_pause_s(FailureCause.RESTARTING, float(second))
        retries.log_waiting(float(second), told.append)
    assert [line.split("waited ")[1].split(" s so far")[0] for line in told] == [
        *("2", "4", "8", "16", "32", "64")
    ]
    retries.log_recovered(100.0, told.append)
    assert told[-1] == "the controller is back after 100 s"
    short = RetryState(0.0)
    short.next_pause_s(FailureCause.RESTARTING, 1.0)
    short.log_waiting(1.0, told.append)
    short.log_recovered(1.5, told.append)
    assert len(told) == 7


def test_the_end_is_a_name_unknown_three_times():
    """An instance has ended after three probes in a row without the controller's name."""
    watch = EndDetector()
    seen = [
        *(
            ProbeResult.NOT_FOUND,
            ProbeResult.NOT_FOUND,
            ProbeResult.SAME_INSTANCE,
            ProbeResult.NOT_FOUND,
            ProbeResult.NOT_FOUND,
        ),
        *(ProbeResult.UNKNOWN, ProbeResult.NOT_FOUND, ProbeResult.NOT_FOUND, ProbeResult.NOT_FOUND),
    ]
    assert [watch.observe(each) for each in seen] == [False] * 8 + [True]
    assert EndDetector().observe(ProbeResult.OTHER_INSTANCE)


def test_whose_controller_it_is():
    """A controller without an instance, or with another one, raises."""
    ours = InstanceInfo("ours", b"", {}, (), "node")
    assert check_instance(ours, "ours") is ours
    with pytest.raises(ControllerGone, match="the instance was shut down"):
        check_instance(None, "ours")
    with pytest.raises(OtherInstance, match="another one runs"):
        check_instance(ours, "another")
