"""Messages to the processes of a node service during starts, restarts and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alacarte._process.node_service_sender import ServiceSender
from alacarte.actors import ActorDied, ActorUnresponsive, NotStarted
from alacarte.errors import NotFoundError, PluginError

Receive = Callable[[bytes], Awaitable[bytes]]
GROUP = "alacarte:i:service:s:node"


class FakeProcess:
    """Takes messages with a function of the test's, and keeps them."""

    def __init__(self, name: str, receive: Receive) -> None:
        self.name = name
        self.receive = receive
        self.messages: list[bytes] = []

    async def call(self, method: str, message: bytes) -> bytes:
        assert method == "receive"
        answer = await self.receive(message)
        self.messages.append(message)
        return answer


class FakeCluster:
    def __init__(self) -> None:
        self.actors: dict[str, FakeProcess] = {}
        self.listed_only: list[str] = []

    def add(self, name: str, receive: Receive) -> FakeProcess:
        process = self.actors[f"{GROUP}:{name}"] = FakeProcess(f"{GROUP}:{name}", receive)
        return process

    async def list_actors(self, prefix: str) -> list[str]:
        return [name for name in [*self.actors, *self.listed_only] if name.startswith(prefix)]

    async def find_actor(self, name: str) -> FakeProcess | None:
        return self.actors.get(name)


def answers(text: bytes) -> Receive:
    async def receive(message: bytes) -> bytes:
        return text

    return receive


def fails(error: BaseException) -> Receive:
    async def receive(message: bytes) -> bytes:
        raise error

    return receive


def starts_at(time: float, text: bytes) -> Receive:
    async def receive(message: bytes) -> bytes:
        if now() < time:
            raise NotStarted("starting")
        return text

    return receive


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def sender(cluster: FakeCluster) -> ServiceSender:
    return ServiceSender(cluster, GROUP)  # type: ignore[arg-type]


def test_processes_are_listed_for_each_message(run: Any, cluster: FakeCluster, sender: Any):
    """New processes get the next message, replaced ones do not."""

    async def main() -> None:
        cluster.add("0:a", answers(b"0"))
        cluster.actors[f"{GROUP}2:0:x"] = FakeProcess("of another node", fails(AssertionError()))
        assert await sender.send(b"1") == [b"0"]
        cluster.add("1:a", answers(b"1"))
        assert await sender.send(b"2") == [b"0", b"1"]
        old = cluster.actors.pop(f"{GROUP}:0:a")
        cluster.add("0:b", answers(b"new"))
        assert sorted(await sender.send(b"3")) == [b"1", b"new"]
        assert old.messages == [b"1", b"2"]

    run(main)


def test_a_process_that_starts_is_waited_for(run: Any, cluster: FakeCluster, sender: Any):
    """A starting process gets the message after its start; the others get it once."""

    async def main() -> None:
        ready = cluster.add("0:a", answers(b"0"))
        began = now()
        cluster.add("1:a", starts_at(began + 5, b"1"))
        assert await sender.send(b"m") == [b"0", b"1"]
        assert now() - began == pytest.approx(5, abs=0.2)
        assert ready.messages == [b"m"]

    run(main)


@pytest.mark.parametrize("names", [("0:old", "0:new"), ("0:new", "0:old")])
def test_one_of_a_place_is_enough(
    run: Any, cluster: FakeCluster, sender: Any, names: tuple[str, str]
):
    """A successor that starts and a predecessor that drains are not waited for."""

    async def main() -> None:
        cluster.add(names[0], answers(b"yes"))
        cluster.add(names[1], fails(NotStarted("starts or drains")))
        began = now()
        assert await sender.send(b"m") == [b"yes"]
        assert now() == began

    run(main)


def test_a_start_that_takes_too_long(run: Any, cluster: FakeCluster, sender: Any):
    """After ten seconds the others' answers are returned; without any, NotFoundError."""

    async def main() -> None:
        cluster.add("1:a", fails(NotStarted("starting")))
        began = now()
        with pytest.raises(NotFoundError, match="has started its service within 10 s"):
            await sender.send(b"m")
        assert now() - began == pytest.approx(10, abs=0.2)
        cluster.add("0:a", answers(b"0"))
        assert await sender.send(b"m") == [b"0"]

    run(main)


def test_nothing_is_sent_again_that_may_have_been_acted_on(
    run: Any, cluster: FakeCluster, sender: Any
):
    """A process that ends before its answer fails the message, without a repetition."""

    async def main() -> None:
        other = cluster.add("0:a", answers(b"0"))
        tries = 0

        async def dies(message: bytes) -> bytes:
            nonlocal tries
            tries += 1
            raise ActorDied("killed")

        cluster.add("1:a", dies)
        with pytest.raises(ActorDied, match=r"1:a ended before it answered.*if a repetition.*kill"):
            await sender.send(b"m")
        assert (tries, other.messages) == (1, [b"m"])

    run(main)


def test_processes_that_are_gone(run: Any, cluster: FakeCluster, sender: Any):
    """A process that has ended is skipped; if none is left, NotFoundError."""

    async def main() -> None:
        cluster.listed_only = [f"{GROUP}:1:a"]
        with pytest.raises(NotFoundError, match="no process .* runs"):
            await sender.send(b"m")
        cluster.add("0:a", answers(b"0"))
        assert await sender.send(b"m") == [b"0"]

    run(main)


def test_errors_of_the_service_reach_the_sender(run: Any, cluster: FakeCluster, sender: Any):
    """Errors and timeouts reach the sender; a message that is too long is not sent."""

    async def main() -> None:
        process = cluster.add("0:a", fails(PluginError("accepts no messages")))
        with pytest.raises(PluginError, match="accepts no messages"):
            await sender.send(b"m")

        async def hangs(message: bytes) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        process.receive = hangs
        with pytest.raises(ActorUnresponsive):
            await sender.send(b"m")
        with pytest.raises(PluginError, match="has 1048577 bytes, the limit is 1048576"):
            await sender.send(bytes(1048577))

    run(main)
