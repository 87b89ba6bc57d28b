"""The launch of an actor's object."""

from __future__ import annotations

import pytest

from alacarte._cluster.actor_host import first_launch, method_of
from alacarte._cluster.cluster_protocol import ActorDied


class Engine:
    """An object that a launcher launches."""

    async def speed(self, unit: str) -> str:
        return f"9 {unit}"

    def weight(self) -> int:
        return 3


class Pad:
    """A launcher; its first launches fail."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.launches = 0

    async def launch(self) -> Engine:
        self.launches += 1
        if self.launches <= self.failing:
            raise ActorDied("not yet")
        return Engine()

    async def own(self) -> str:
        return "mine"


async def test_a_launcher_answers_its_own_calls_and_its_object_the_others():
    """Calls of the launcher's own methods do not launch the object; other calls do."""
    pad = Pad()
    assert await method_of(pad, "own")() == "mine"
    assert pad.launches == 0
    assert await method_of(pad, "speed")("knots") == "9 knots"
    assert pad.launches == 1
    assert method_of(Engine(), "weight")() == 3
    with pytest.raises(AttributeError, match="color"):
        await method_of(pad, "color")()


async def test_a_launch_that_has_failed_is_tried_again():
    """The first failure raises nothing; a later call launches again, and raises the reason."""
    pad = Pad(failing=2)
    await first_launch(pad)
    with pytest.raises(ActorDied, match="not yet"):
        await method_of(pad, "speed")("knots")
    assert await method_of(pad, "speed")("knots") == "9 knots"
    await first_launch(Engine())
