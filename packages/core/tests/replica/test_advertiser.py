"""The values that a replica advertises to routers, and its callbacks at the end."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte import serve
from alacarte.context import ReplicaContext
from alacarte.errors import ServeError
from alacarte.testing import wait_until
from alacarte.types import DeploymentId

NOTES: list[str] = []


@serve.deployment
class Holder:
    def __init__(self) -> None:
        here = serve.get_replica_context()
        here.advertise("colours", {"red"})
        for note in ("first", "second"):
            here.on_close(lambda note=note: self.close(note))  # type: ignore[misc]

    async def close(self, note: str) -> None:
        NOTES.append(f"{note} in {serve.get_replica_context().deployment}")
        if note == "second":
            raise OSError("the disk is full")

    def __call__(self, *colours: str) -> str:
        """Run in a thread."""
        serve.get_replica_context().advertise("colours", colours)
        return "told"

    def __del__(self) -> None:
        NOTES.append("gone")


def known(handle: Any) -> list[Any]:
    router = handle.runtime.routers[handle.deployment]
    return [replica.advertised.get("colours") for replica in router.replicas]


def test_a_replica_advertises_values(local: Any) -> None:
    """A constructor and threads may advertise; routers get the last values without a call."""
    handle = local.run(Holder.bind())
    assert handle.call("green", "blue") == "told"
    wait_until(lambda: known(handle) == [frozenset({"green", "blue"})], 20)


def test_a_constructor_may_advertise(local: Any) -> None:
    """Values from before the first connection reach every caller that connects."""
    handle = local.run(Holder.options(num_replicas=2).bind())

    async def connect() -> None:
        handle.runtime.service(handle.deployment)

    handle.runtime.submit(connect()).result(20)
    wait_until(lambda: known(handle) == [frozenset({"red"})] * 2, 20)


def test_callbacks_at_the_end_of_a_replica(local: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Callbacks run last first, in the replica, before `__del__`; a failure stops none."""
    NOTES.clear()
    local.run(Holder.bind())
    local.delete("default")
    wait_until(lambda: "gone" in NOTES, 20)
    assert NOTES == ["second in Holder", "first in Holder", "gone"]
    assert "the disk is full" in caplog.text


def test_without_a_replica() -> None:
    """A context without a running replica cannot advertise."""
    with pytest.raises(ServeError, match="is not running and cannot advertise"):
        ReplicaContext(DeploymentId("a", "b"), "r").advertise("colours", {"red"})
