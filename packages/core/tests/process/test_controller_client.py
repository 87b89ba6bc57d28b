"""The controller's client: retries within limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorDied, ActorSpec, ClusterUnresponsive
from alacarte._process.controller_client import ControllerClient, OtherInstance
from alacarte._process.controller_retry import NO_RETRY
from alacarte.actors import InstanceInfo
from alacarte.errors import ServeError
from alacarte.serve import _current
from alacarte.serve._controller_connection import ControllerConnection
from alacarte.serve._session import Session, within

Answer = Callable[[], Awaitable[Any]]


class FakeController:
    """A controller with a sequence of behaviours; the last one stays."""

    name = "the controller"

    def __init__(self, *answers: Answer, info: InstanceInfo | None = None) -> None:
        self.answers = list(answers)
        self.info = info
        self.joins: list[Exception] = []
        self.asked: list[str] = []

    async def call(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        if method == "join":
            if self.joins:
                raise self.joins.pop(0)
            return self.info
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer()


class FakeCluster:
    kind = "ray"

    def __init__(self, controller: FakeController | None) -> None:
        self.controller = controller
        self.looked = 0

    async def find_actor(self, name: str) -> FakeController | None:
        self.looked += 1
        return self.controller


def gives(value: Any, after_s: float = 0.0) -> Answer:
    async def answer() -> Any:
        await asyncio.sleep(after_s)
        if isinstance(value, Exception):
            raise value
        return value

    return answer


async def hangs() -> Any:
    await asyncio.Event().wait()


def session(*answers: Answer) -> tuple[Any, FakeController]:
    controller = FakeController(*answers)
    made: Any = ControllerClient(FakeCluster(controller))  # type: ignore[arg-type]
    return made, controller


@pytest.mark.parametrize(("connected", "ended"), [(True, True), (False, False)])
def test_an_instance_that_is_over(monkeypatch: pytest.MonkeyPatch, connected: bool, ended: bool):
    """The session ends whether another process has ended the instance or Ray is gone."""
    over: Any = Session(SimpleNamespace(is_connected=True), None)  # type: ignore[arg-type]
    monkeypatch.setattr(_current.CURRENT, "session", over)
    assert _current.current() is over
    over.cluster.is_connected, over.ended_elsewhere = connected, ended
    assert _current.current() is None
    assert over.ended


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_controller_that_comes_back(run: Any):
    """A call is retried until the controller is back."""

    async def main() -> None:
        away = gives(ActorDied("away"))
        driver, controller = session(away, away, gives(7))
        assert await driver.controller().status() == 7
        assert controller.asked == ["status"] * 3
        assert driver._cluster.looked == 3

    run(main)


def test_a_call_that_is_not_repeatable(run: Any):
    """A call that was sent is not repeated; before that, the client waits for the controller."""

    async def main() -> None:
        driver, controller = session(gives(ActorDied("killed")), gives(None))
        with pytest.raises(ServeError, match="answered .restart_services.. The call may have been"):
            await driver.controller().restart_services("http", 5.0)
        assert controller.asked == ["restart_services"]

        controller = FakeController(gives(None), info=info("ours"))
        driver = ControllerClient(FakeCluster(controller), "ours")  # type: ignore[arg-type]
        await driver.controller().status()
        controller.joins = [ActorDied("away"), ActorDied("away")]
        await driver.controller().restart_services("http", 5.0)
        assert controller.asked == ["join", "status", *["join"] * 3, "restart_services"]

    run(main)


def test_a_restart_that_takes_long(run: Any, caplog: pytest.LogCaptureFixture):
    """The client waits for a controller with a known name, and logs it."""
    caplog.set_level(logging.INFO, "alacarte")

    async def main() -> None:
        driver, controller = session()

        async def restarted() -> Any:
            if now() < 220:
                raise ActorDied("restarting")
            return "done"

        controller.answers = [restarted]
        waits = [driver.controller().applied("application", name) for name in "abc"]
        assert await asyncio.gather(*waits) == ["done"] * 3
        assert now() == pytest.approx(220, abs=1.1)
        assert len(controller.asked) < 3 * 140  # ever longer pauses

    run(main)
    lines = [record.getMessage() for record in caplog.records if record.name == "alacarte"]
    assert all("the cluster restarts it; waited" in line for line in lines[:-1])
    assert 4 <= len(lines[:-1]) <= 8  # of three who wait one tells, and ever more rarely
    assert lines[-1] == "the controller is back after 121 s"


def test_a_controller_that_is_away_twice(run: Any, caplog: pytest.LogCaptureFixture):
    """Each logged outage is followed by a log line about its end."""
    caplog.set_level(logging.INFO, "alacarte")

    async def main() -> None:
        driver, controller = session()
        began = now()

        async def restarted() -> Any:
            if now() < began + 10:
                raise ActorDied("restarting")
            controller.answers = [gives("done")]
            await asyncio.sleep(5)
            raise ActorDied("killed")

        controller.answers = [restarted]
        assert await driver.controller().applied("application", "a") == "done"

    run(main)
    lines = [record.getMessage() for record in caplog.records if record.name == "alacarte"]
    assert "waited" in lines[-2]
    assert lines[-1].startswith("the controller is back after 1")


def test_a_controller_that_never_comes_up(run: Any):
    """A restart without an answer fails after five minutes."""

    async def main() -> None:
        driver, _ = session(gives(ActorDied("away")))
        with pytest.raises(ActorDied, match="away"):
            await driver.controller().status()
        assert now() == pytest.approx(400, abs=2)

    run(main)


def test_a_short_restart_says_nothing(run: Any, caplog: pytest.LogCaptureFixture):
    """A restart within two seconds is nothing to speak of."""
    caplog.set_level(logging.INFO, "alacarte")

    async def main() -> None:
        driver, _ = session(*[gives(ActorDied("away"))] * 6, gives(7))
        assert await driver.controller().status() == 7

    run(main)
    assert not caplog.records


def test_a_controller_that_is_gone_for_good(run: Any):
    """A controller whose name becomes unknown during a call is not waited for."""

    async def main() -> None:
        driver, controller = session(gives(ActorDied("away")))

        async def gone() -> Any:
            driver._cluster.controller = None
            raise ActorDied("killed")

        controller.answers = [gone]
        with pytest.raises(ActorDied, match="the instance was shut down"):
            await driver.controller().applied("application", "a")
        assert now() == pytest.approx(103, abs=1.1)

    run(main)


def test_the_callers_own_limit_bounds_every_wait(run: Any):
    """A caller's own timeout limits the wait."""

    async def main() -> None:
        driver, _ = session(gives(ActorDied("away")))
        with pytest.raises(TimeoutError):
            await within(7, driver.controller().apply(b"", (), {}))
        assert now() == pytest.approx(107, abs=0.1)

    run(main)


def test_a_controller_that_dies_late(run: Any):
    """A controller that dies during a long call has the whole time to come back."""

    async def main() -> None:
        late = gives(ActorDied("away"), after_s=100)
        soon = gives(ActorDied("away"))
        driver, _ = session(late, *[soon] * 50, gives("done"))
        assert await driver.controller().applied("application", "a") == "done"

    run(main)


def test_a_cluster_that_is_silent(run: Any):
    """An unresponsive control store is retried for a limited time."""

    async def main() -> None:
        driver, _ = session(gives(7))
        find = driver._cluster.find_actor

        async def silent(name: str) -> Any:
            await asyncio.sleep(10)
            raise ClusterUnresponsive("no word")

        driver._cluster.find_actor = silent
        with pytest.raises(ClusterUnresponsive, match="no word"):
            await driver.controller().status()
        assert now() < 150
        driver._cluster.find_actor = find
        assert await driver.controller().status() == 7

    run(main)


def test_a_controller_that_does_not_answer(run: Any):
    """A method with a timeout fails after half a minute, with a remedy in the error."""

    async def main() -> None:
        driver, _ = session(hangs)
        with pytest.raises(ActorDied, match=r"not answered 'status' for 30 s.*force=True"):
            await driver.controller().status()
        assert now() == pytest.approx(130, abs=1)
        await asyncio.sleep(1)  # of virtual time, in which what was cancelled ends

    run(main)


def test_waiting_for_long(run: Any):
    """A call without a timeout may last while the controller answers liveness checks."""

    async def main() -> None:
        driver, controller = session(gives("done", after_s=3600))
        assert await driver.controller().applied("application", "a") == "done"
        assert controller.asked[0] == "applied"
        assert controller.asked.count("join") > 50

    run(main)


def test_waiting_for_one_that_hangs(run: Any):
    """A wait ends with an error when the controller says nothing at all any more."""

    async def main() -> None:
        driver, controller = session(hangs)
        call = controller.call

        async def deaf(method: str, *args: Any) -> Any:
            return await (hangs() if method == "join" else call(method, *args))

        controller.call = deaf  # type: ignore[method-assign]
        with pytest.raises(ActorDied, match="not answered 'join'"):
            await driver.controller().applied("application", "a")
        assert now() == pytest.approx(165, abs=1)
        await asyncio.sleep(1)

    run(main)


def test_no_controller(run: Any):
    """`join` finds at once that no controller runs; other calls fail after a shutdown."""

    async def main() -> None:
        driver, _ = session(gives(7))
        driver._cluster.controller = None
        assert await driver.join(None, ActorSpec("", "")) is None
        assert now() == 100
        with pytest.raises(ActorDied, match="the instance was shut down"):
            await driver.controller().status()

    run(main)


def info(instance: str, secret: bytes = b"") -> InstanceInfo:
    return InstanceInfo(instance, secret, {}, (), "node")


async def test_whose_controller_answers_is_asked_once():
    """`join` is called once per controller found: its secret may be a new one."""
    controller = FakeController(gives(7), info=info("ours", b"1"))
    learned: list[bytes] = []
    client = ControllerClient(
        FakeCluster(controller),  # type: ignore[arg-type]
        "ours",
        learn=lambda info: learned.append(info.secret),
    )
    assert [await client.controller().status() for _ in range(3)] == [7, 7, 7]
    assert controller.asked == ["join", "status", "status", "status"]
    controller.info = info("ours", b"2")
    controller.answers = [gives(ActorDied("away")), gives(8)]
    assert await client.controller().status() == 8
    client.forget()
    await client.controller().status()
    assert learned == [b"1", b"2", b"2"]


async def test_another_instance_is_not_asked():
    """A controller of another instance gets no calls, and is not searched for again."""
    controller = FakeController(gives(7), info=info("another"))
    cluster = FakeCluster(controller)
    client = ControllerClient(cluster, "ours")  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(OtherInstance, match=r"another one runs\. Call serve\.shutdown\(\)"):
            await client.controller().status()
    assert controller.asked == ["join"]
    assert cluster.looked == 1


def test_who_asks_at_once_does_not_wait(run: Any):
    """With `NO_RETRY`, a call fails at once."""

    async def main() -> None:
        away = FakeController(gives(ActorDied("away")))
        for found, error in [(None, "shut down"), (away, "away")]:
            client = ControllerClient(FakeCluster(found))  # type: ignore[arg-type]
            with pytest.raises(ActorDied, match=error):
                await client.controller(NO_RETRY).status()
        assert now() == 100

    run(main)


def test_routes_that_do_not_arrive(run: Any):
    """The error says which routes this process lacks, and that the change is made."""

    async def main() -> None:
        driver: Any = ControllerConnection(FakeCluster(FakeController(gives(12))), None)  # type: ignore[arg-type]
        driver.runtime = SimpleNamespace(routes_known=lambda version: hangs())
        with pytest.raises(ServeError, match="version 12 of the routes within 15 s.* is in effect"):
            await driver.deleted("application", "a")

    run(main)


def test_a_shutdown_of_an_instance_that_has_ended():
    """A shutdown of an ended instance does not touch the instance that replaced it."""
    left: list[str] = []

    def is_another(work: Any) -> None:
        raise OtherInstance("another one runs")

    driver: Any = Session.__new__(Session)
    driver._connection = SimpleNamespace(
        cluster=SimpleNamespace(is_reachable=lambda: True),
        controller=lambda limits: SimpleNamespace(shutdown=lambda: None),
    )
    driver.wait = is_another
    driver.leave = lambda: left.append("left")
    driver.kill = lambda: left.append("ended")
    driver.shut_down()
    assert left == ["left"]


def test_a_shutdown_without_a_cluster():
    """Without a cluster, a shutdown ends the session at once."""
    left: list[bool] = []
    driver: Any = Session.__new__(Session)
    cluster = SimpleNamespace(is_reachable=lambda: False)
    driver._connection = SimpleNamespace(cluster=cluster, started=True)
    driver.leave = lambda: left.append(True)
    with pytest.raises(ClusterUnresponsive, match="could not shut down gracefully"):
        driver.shut_down()
    assert left == [True]
    driver.abandon()  # of a start that failed: its own error is the one to raise
    assert left == [True, True]
