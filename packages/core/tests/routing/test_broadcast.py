"""Broadcasts over fake connections: the replicas that get them, and their replies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte.errors import DeploymentUnavailableError, ReplicaUnavailableError
from alacarte.types import Call, Reply

from .support import Bench, settle


def tell(b: Any, name: str = "all") -> asyncio.Task[list[Reply | BaseException]]:
    return asyncio.ensure_future(b.router.broadcast(Call("python", (name.encode(),))))


def test_each_replica_once(bench):
    """Every replica gets the call once, full ones too; it takes a slot until its reply."""

    async def main(b: Bench) -> None:
        await b.update("a", "b", room=1)
        await b.call("1", "2", "3")
        assert b.router.queued == 1
        told = tell(b)
        await settle()
        assert sorted(b.far.names()[2:]) == ["all@a", "all@b"]
        assert sorted(link.in_flight for link in b.router.replicas) == [2, 2]
        await b.answer("all")
        assert len(await told) == 2
        assert b.router.queued == 1
        await b.answer("1")
        await b.answer("2", "3")
        b.check_clean()

    bench(main)


def test_a_waiting_call_is_sent_when_a_broadcast_has_ended(bench):
    """The end of a broadcast frees its slot for a waiting call."""

    async def main(b: Bench) -> None:
        await b.update("a", room=1)
        told = tell(b)
        await settle()
        await b.call("1")
        assert b.router.queued == 1
        await b.answer("all")
        await told
        await b.answer("1")
        assert await b.result("1") == "1"
        b.check_clean()

    bench(main)


def test_before_anything_is_known(bench):
    """A broadcast waits for the first snapshot, and for the connection to each replica."""

    async def main(b: Bench) -> None:
        told = tell(b)
        await settle()
        assert not told.done()
        b.far.down["b"] = OSError("not yet")
        await b.update("a", "b")
        await b.answer("all")
        assert not told.done()
        del b.far.down["b"]
        while len(b.far.sent) < 2:
            await asyncio.sleep(0.1)
        await b.answer("all")
        assert len(await told) == 2
        b.check_clean()

    bench(main)


def test_a_broadcast_skips_leaving_replicas(bench):
    """A replica that rejects the call, or goes before it, gives no result and no error."""

    async def main(b: Bench) -> None:
        b.far.full.add("b")
        b.far.down["c"] = OSError("never")
        await b.update("a", "b", "c")
        told = tell(b)
        await settle()
        await b.update("a", "b")
        await b.answer("all")
        [answer] = await told
        assert isinstance(answer, Reply)
        b.check_clean()

    bench(main)


def test_a_replica_that_breaks_off(bench):
    """The error of a lost replica is among the replies of the others."""

    async def main(b: Bench) -> None:
        await b.update("a", "b")
        told = tell(b)
        await settle()
        b.far.connections["a"].break_off()
        await b.answer("all")
        answers = await told
        assert sorted(type(each).__name__ for each in answers) == [
            "ReplicaUnavailableError",
            "Reply",
        ]
        [lost] = [each for each in answers if isinstance(each, ReplicaUnavailableError)]
        assert lost.replica == "a"

    bench(main)


def test_a_replica_that_leaves_finishes(bench):
    """The connection to a leaving replica stays until its reply."""

    async def main(b: Bench) -> None:
        await b.update("a", "b")
        told = tell(b)
        await settle()
        b.far.connections["a"].on_goaway()
        await b.update("b")
        assert not b.far.connections["a"].closed
        await b.answer("all")
        assert all(isinstance(each, Reply) for each in await told)
        await settle()
        assert b.far.connections["a"].closed
        b.check_clean()

    bench(main)


def test_giving_up(bench):
    """A cancelled broadcast is cancelled at every replica."""

    async def main(b: Bench) -> None:
        await b.update("a", "b")
        told = tell(b)
        await settle()
        told.cancel()
        await settle()
        assert [stream.cancelled for stream in b.far.sent] == [True, True]
        b.check_clean()

    bench(main)


@pytest.mark.parametrize("state", ["up", "failed"])
def test_a_broadcast_without_replicas(bench, state):
    """A broadcast without a running replica fails with the reason."""

    async def main(b: Bench) -> None:
        await b.update(state=state, reason="" if state == "up" else "it raised KeyError")
        reason = "none of its replicas runs" if state == "up" else "it raised KeyError"
        with pytest.raises(DeploymentUnavailableError, match=f"shop#model.*{reason}"):
            await tell(b)

    bench(main)
