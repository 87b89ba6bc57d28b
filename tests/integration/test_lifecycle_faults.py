"""What may happen to an instance under load, in short; `tests/faults` does it at length.

alacarte in processes of its own, on the Ray of these tests. What is measured there as a time has
room here for a machine that is busy otherwise. What `test_updates.py` and `test_faults.py` show in
their own process is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.faults import (
    controller_kill,
    failing_health,
    failing_start,
    frozen_replica,
    overload,
    poison,
    replica_kill,
    rolling_update,
    scaling,
)
from tests.faults.figures import Figure
from tests.faults.systems import ALACARTE, System, running
from tests.faults.trial import Size

pytestmark = pytest.mark.ray

SMALL = Size("small", 250, 50, 1, 2)


@pytest.fixture(scope="module")
def it(ray_address: str) -> Iterator[System]:
    """An instance for all tests here."""
    with running(ALACARTE, ray_address=ray_address, retry_methods=["GET"]) as system:
        yield system


@pytest.fixture(autouse=True)
def empty(it: System) -> Iterator[None]:
    """Nothing is left of one test for the next."""
    yield
    it.ask("delete", app="alpha")
    for note in it.folder.glob("ill*"):
        note.unlink()


def unmet(figures: list[Figure]) -> dict[str, str]:
    """Return the promises that were not kept; those about times are not for this machine."""
    return {
        each.name: f"{each.shown}, promised {each.target}"
        for each in figures
        if not each.met and each.unit not in ("ms", "s")
    }


def test_new_code_on_the_only_replica(it: System):
    """Nobody's request is lost, and no old version answers once the deployment has returned."""
    assert unmet(rolling_update.update(it, SMALL, 1)) == {}


def test_more_and_fewer_under_load(it: System):
    """Nothing is lost when two replicas become four and two again."""
    assert unmet(scaling.resize(it, SMALL, most=4)) == {}


def test_a_killed_replica_whose_requests_may_be_sent_again(it: System):
    """Nothing fails where a method was said to be safe to send again."""
    it.deploy("v0", options=replica_kill.OPTIONS)
    assert unmet(replica_kill.kill_some_again(it, SMALL)) == {}


def test_a_frozen_replica(it: System):
    """A replica that answers nothing gets no more requests, and is replaced."""
    it.deploy("v0", options=frozen_replica.OPTIONS)
    assert unmet(frozen_replica.freeze(it, SMALL)) == {}


def test_a_version_that_does_not_start(it: System):
    """The old one goes on, the failure says what was raised, and a good version comes after it."""
    it.deploy("v0", options=failing_start.OPTIONS)
    assert unmet(failing_start.raises(it, SMALL)) == {}


def test_an_ill_replica(it: System):
    """It is replaced, and nobody's request is lost."""
    it.deploy("v0", options=failing_health.OPTIONS)
    assert unmet(failing_health.one_of_them(it, SMALL)) == {}


def test_a_killed_controller(it: System):
    """Requests go on; its successor adopts the replicas and takes the next deployment."""
    it.deploy("v0", options=controller_kill.OPTIONS)
    assert unmet(controller_kill.kill_again_and_again(it, SMALL)) == {}


def test_overload(it: System):
    """At three times the capacity the goodput stays, and the rest is refused as promised."""
    it.deploy("v0", options=overload.OPTIONS, arguments=overload.ARGUMENTS)
    assert unmet(overload.beyond(it, SMALL, 3, 0.5)) == {}


def test_poisonous_requests(it: System):
    """One kills a single replica, and the application goes on."""
    it.deploy("v0", options=poison.OPTIONS)
    assert unmet(poison.send(it, SMALL)) == {}
