"""When a controller that is away is asked again, and when its instance counts as ended."""

from __future__ import annotations

import pytest

from alacarte._process.controller_client import ControllerGone, OtherInstance, checked
from alacarte._process.outage import (
    AT_ONCE,
    JOINING,
    PATIENT,
    Absence,
    EndWatch,
    Outage,
    Patience,
    Sighting,
)
from alacarte.actors import InstanceInfo
from alacarte.testing import FakeClock


def waited(absence: Absence, patience: Patience) -> float:
    """Return how long a caller waits in all, for a controller that never comes back."""
    clock = FakeClock()
    began = clock()
    outage = Outage(clock(), patience)
    while (pause_s := outage.failed(absence, clock())) is not None:
        clock.advance(pause_s)
    return clock() - began


@pytest.mark.parametrize(
    ("patience", "restarting_s", "gone_s", "silent_s"),
    [
        (PATIENT, 300, 3, 15),
        (JOINING, 300, 0, 15),
        (AT_ONCE, 0, 0, 0),
        (Patience(7, 8, 9), 7, 8, 9),
    ],
)
def test_the_reason_decides_how_long_is_waited(patience, restarting_s, gone_s, silent_s):
    """A restart has minutes, a name that is unknown seconds; a caller may have less patience."""
    assert waited(Absence.RESTARTING, patience) == pytest.approx(restarting_s, abs=1)
    assert waited(Absence.GONE, patience) == pytest.approx(gone_s, abs=1)
    assert waited(Absence.CLUSTER_SILENT, patience) == pytest.approx(silent_s, abs=1)


def test_pauses_grow_to_a_second():
    """The first attempts come soon, since most restarts are short."""
    outage = Outage(0.0)
    pauses = [outage.failed(Absence.RESTARTING, float(second)) for second in range(8)]
    assert pauses == [0.1, 0.1, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0]


def test_another_reason_has_its_own_time():
    """A silent cluster that comes back may find the controller in the middle of its restart."""
    outage = Outage(0.0)
    assert outage.failed(Absence.CLUSTER_SILENT, 10.0) is not None
    assert outage.failed(Absence.RESTARTING, 20.0) is not None
    assert outage.failed(Absence.CLUSTER_SILENT, 30.0) is not None
    assert outage.failed(Absence.CLUSTER_SILENT, 46.0) is None
    assert outage.failed(Absence.RESTARTING, 301.0) is None, "five minutes in all"


def test_a_wait_is_told_after_ever_longer_pauses():
    """Not in the first two seconds, and its end only where its beginning was told."""
    outage = Outage(0.0)
    told: list[str] = []
    for second in range(100):
        outage.failed(Absence.RESTARTING, float(second))
        outage.tell(float(second), told.append)
    assert [line.split("waited ")[1].split(" s so far")[0] for line in told] == [
        *("2", "4", "8", "16", "32", "64")
    ]
    outage.ended(100.0, told.append)
    assert told[-1] == "the controller is back after 100 s"
    short = Outage(0.0)
    short.failed(Absence.RESTARTING, 1.0)
    short.tell(1.0, told.append)
    short.ended(1.5, told.append)
    assert len(told) == 7


def test_the_end_is_a_name_unknown_three_times():
    """A controller that restarts keeps its name, and one that cannot be asked proves nothing."""
    watch = EndWatch()
    seen = [
        *(Sighting.NOBODY, Sighting.NOBODY, Sighting.OURS, Sighting.NOBODY, Sighting.NOBODY),
        *(Sighting.UNKNOWN, Sighting.NOBODY, Sighting.NOBODY, Sighting.NOBODY),
    ]
    assert [watch.saw(each) for each in seen] == [False] * 8 + [True]
    assert EndWatch().saw(Sighting.OTHERS)


def test_whose_controller_it_is():
    """Only ours will do; one without an instance means that ours was shut down."""
    ours = InstanceInfo("ours", b"", {}, (), "node")
    assert checked(ours, "ours") is ours
    with pytest.raises(ControllerGone, match="the instance was shut down"):
        checked(None, "ours")
    with pytest.raises(OtherInstance, match="another one runs"):
        checked(ours, "another")
