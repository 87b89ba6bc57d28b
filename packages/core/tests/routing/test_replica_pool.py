"""The replicas of a router: connections that are made, break, are drained and closed."""

from __future__ import annotations

import asyncio

import pytest

from alacarte._wire.authentication import AuthenticationError
from alacarte._wire.caller_connection import ConnectionLost
from alacarte.errors import (
    ReplicaUnavailableError,
)

from .support import settle


def test_a_broken_connection_fails_its_calls(bench):
    """A sent call may have run and is not retried; waiting calls go to other replicas."""

    async def main(b):
        await b.update("a", "b")
        await b.call("1", "2", "3")
        assert b.far.names() == ["1@a", "2@b"]
        b.far.down["a"] = OSError("gone")
        b.far.connections["a"].break_off()
        with pytest.raises(ReplicaUnavailableError, match=r"shop#model: replica a .*reset by peer"):
            await b.calls["1"]
        assert b.router.queued == 1
        await b.answer("2")
        assert b.far.names()[2:] == ["3@b"]

    bench(main)


def test_a_broken_connection_is_made_again(bench):
    """A connection is made again while the controller lists the replica, for waiting calls."""

    async def main(b):
        await b.update("a")
        await b.call("1", "2")
        b.far.connections["a"].break_off()
        await settle()
        assert b.far.attempts == 2
        assert b.far.names() == ["1@a", "2@a"]
        await b.answer("2")
        assert await b.result("2") == "2"
        b.check_clean()

    bench(main)


@pytest.mark.parametrize(
    "error", [OSError("refused"), ConnectionLost("x"), AuthenticationError("y")]
)
def test_a_replica_that_cannot_be_reached_is_tried_again(bench, error):
    """Retries have growing pauses of a second at most, and delay no other replica's calls."""

    async def main(b):
        loop = asyncio.get_running_loop()
        b.far.down["a"] = error
        await b.update("a", "b")
        await b.call("1", "2")
        assert b.far.names() == ["1@b"]
        began, before = loop.time(), b.far.attempts
        await asyncio.sleep(8)
        assert 8 <= b.far.attempts - before <= 12
        b.far.down.clear()
        await asyncio.sleep(1)
        assert b.far.names() == ["1@b", "2@a"]
        assert loop.time() - began < 9.1

    bench(main)


def test_a_dead_connection_is_found_by_a_call(bench):
    """Nothing was sent on the dead connection, so the call goes to another replica."""

    async def main(b):
        await b.update("a", "b")
        b.far.connections["a"].transport = None  # and nobody has told the router yet
        b.far.down["a"] = OSError("gone")
        await b.call("1")
        assert b.far.names() == ["1@b"]
        assert [load.replica_id for load in b.router.replicas] == ["b"]

    bench(main)


def test_a_leaving_replica_finishes_its_calls(bench):
    """GOAWAY and then its absence from the list: nothing new is sent, nothing in flight is lost."""

    async def main(b):
        await b.update("a", "b")
        await b.call("1", "2")
        leaving = b.far.connections["a"]
        leaving.on_goaway()
        await b.call("3")
        assert b.far.names() == ["1@a", "2@b"]
        await b.update("b")
        assert not leaving.closed
        await b.answer("1")
        assert await b.result("1") == "1"
        assert leaving.closed
        assert b.far.names() == ["1@a", "2@b"]
        await b.answer("2")
        assert b.far.names()[2:] == ["3@b"]

    bench(main)


def test_an_idle_leaving_replica_is_disconnected(bench):
    """The connection of an idle leaving replica is closed at once, and not made again."""

    async def main(b):
        await b.update("a", "b")
        b.far.connections["a"].on_goaway()
        assert b.far.connections["a"].closed
        await b.update("a", "b")
        await asyncio.sleep(10)
        assert b.far.attempts == 2
        await b.call("1")
        assert b.far.names() == ["1@b"]

    bench(main)


def test_an_idle_removed_replica_is_disconnected(bench):
    """The connection is closed and not made again."""

    async def main(b):
        await b.update("a")
        await b.update()
        assert b.far.connections["a"].closed
        await asyncio.sleep(10)
        assert b.far.attempts == 1

    bench(main)


def test_a_replica_removed_before_it_is_connected(bench):
    """The attempts to connect end with the replica."""

    async def main(b):
        b.far.down["a"] = OSError("refused")
        await b.update("a")
        await b.update()
        attempts = b.far.attempts
        await asyncio.sleep(10)
        assert b.far.attempts == attempts

    bench(main)
