"""The meters of a process: observers, their combination, and their failures."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._process.process_meters import ProcessMeters, ReplyJudge
from alacarte.errors import ErrorCode
from alacarte.types import Call, HookResult, Meter, ReplicaObserver, Reply, RouterObserver

HERE = "shop#model"
CALL = Call("python", (b"",))


class Heard(RouterObserver):
    """An observer that records two of its events."""

    def __init__(self, heard: list[str], name: str) -> None:
        self.heard = heard
        self.name = name

    def began(self, call: Call) -> None:
        self.heard.append(f"{self.name}: began")

    def queued(self, call: Call) -> None:
        self.heard.append(f"{self.name}: queued")


class One(Meter):
    """A meter that returns a given observer."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self.asked: list[Any] = []

    def router(self, deployment: Any) -> Any:
        self.asked.append(deployment)
        if isinstance(self.observer, Exception):
            raise self.observer
        return self.observer


def meters(failures: PluginFailures, **given: Meter) -> ProcessMeters:
    return ProcessMeters([HookResult(*item) for item in given.items()], failures)


@pytest.fixture
def failures() -> PluginFailures:
    return PluginFailures()


def test_nothing_without_plugins(failures):
    """Without a plugin there is no observer to call."""
    assert meters(failures).observe("router", RouterObserver, HERE) is None
    assert meters(failures, a=One(None)).observe("router", RouterObserver, HERE) is None
    assert meters(failures, a=Meter()).observe("router", RouterObserver, HERE) is None
    assert failures.values() == ()


def test_an_unknown_kind_is_observed_by_nobody(failures):
    """Of a package whose observers this plugin's meter was not written for."""
    meter = One(Heard([], "a"))
    assert meters(failures, a=meter).observe("disk", RouterObserver, HERE) is None
    assert (meter.asked, failures.values()) == ([], ())


def test_observers_of_several_plugins(failures):
    """Observers are called in the order of plugins; methods that none overrides do nothing."""
    heard: list[str] = []
    given = meters(failures, a=One(Heard(heard, "a")), b=One(None), c=One(Heard(heard, "c")))
    observer = given.observe("router", RouterObserver, HERE)
    assert observer is not None
    observer.began(CALL)
    observer.queued(CALL)
    observer.ended(CALL, None, None)
    assert heard == ["a: began", "c: began", "a: queued", "c: queued"]


def test_an_observer_of_any_class(failures):
    """An observer need not inherit from the base class."""

    class Bare:
        calls = 0

        def began(self, call: Call) -> None:
            self.calls += 1

    bare = Bare()
    observer = meters(failures, a=One(bare)).observe("router", RouterObserver, HERE)
    assert observer is not None
    observer.began(CALL)
    observer.queued(CALL)
    assert bare.calls == 1


def test_a_meter_that_raises(failures):
    """A failing meter is recorded with its plugin, and the others still observe."""
    heard: list[str] = []
    given = meters(failures, bad=One(ValueError("no room")), good=One(Heard(heard, "good")))
    observer = given.observe("router", RouterObserver, HERE)
    assert observer is not None
    observer.began(CALL)
    assert heard == ["good: began"]
    [failure] = failures.values()
    assert (failure.plugin, failure.hook) == ("bad", "meter: router")
    assert "no room" in failure.message


class Raises(Heard):
    def began(self, call: Call) -> None:
        super().began(call)
        raise SystemExit("a bug")


def test_an_observer_that_raises(failures, caplog):
    """A failing observer is logged once, and it and the others are still called."""
    heard: list[str] = []
    given = meters(failures, bad=One(Raises(heard, "bad")), good=One(Heard(heard, "good")))
    observer = given.observe("router", RouterObserver, HERE)
    assert observer is not None
    for _ in range(3):
        observer.began(CALL)
    assert heard == ["bad: began", "good: began"] * 3
    [failure] = failures.values()
    assert (failure.plugin, failure.hook) == ("bad", "observer of a router: began")
    assert len(caplog.records) == 1


class Asynchronous(Heard):
    async def began(self, call: Call) -> None:
        raise AssertionError("is never run")


class AsyncMeter(Meter):
    async def router(self, deployment: Any) -> Any:
        raise AssertionError("is never run")


def test_async_methods(failures):
    """Async methods are recorded as failures, without a warning about an unawaited coroutine."""
    observer = meters(failures, a=One(Asynchronous([], "a"))).observe("router", RouterObserver, 1)
    assert observer is not None
    observer.began(CALL)
    observer.began(CALL)
    assert meters(failures, b=AsyncMeter()).observe("router", RouterObserver, 1) is None
    told = [(failure.plugin, failure.hook, failure.count) for failure in failures.values()]
    assert told == [("a", "observer of a router: began", 1), ("b", "meter: router", 1)]
    assert all("must not be async" in failure.message for failure in failures.values())


class Status:
    """A protocol whose replies begin with a status."""

    name = "status"

    def bind(self, served: Any) -> Any:
        raise NotImplementedError

    def failure_code(self, reply: Reply) -> ErrorCode | None:
        return ErrorCode.UNAVAILABLE if int(bytes(reply.payload[0])) >= 500 else None


class Plain:
    """A protocol that judges nothing."""

    name = "plain"

    def bind(self, served: Any) -> Any:
        raise NotImplementedError


def test_replies_that_stand_for_errors():
    """The call's protocol classifies its replies; protocols are loaded with the first reply."""
    asked = 0

    def protocols() -> list[Any]:
        nonlocal asked
        asked += 1
        return [Status(), Plain()]

    judge = ReplyJudge(protocols)
    assert asked == 0
    assert judge(Call("status", ()), Reply((b"503",))) is ErrorCode.UNAVAILABLE
    assert judge(Call("status", ()), Reply((b"200",))) is None
    assert judge(Call("status", ()), Reply((b"what?",))) is ErrorCode.INTERNAL
    assert judge(Call("plain", ()), Reply((b"503",))) is None
    assert judge(Call("python", ()), Reply((b"503",))) is None
    assert asked == 1


def test_a_replica_is_another_kind(failures):
    """`ReplicaObserver` has its own methods."""

    class Replica(ReplicaObserver):
        calls = 0

        def started(self, call: Call) -> None:
            self.calls += 1

    class Both(Meter):
        def replica(self, deployment: Any) -> ReplicaObserver:
            return one

    one = Replica()
    observer = meters(failures, a=Both()).observe("replica", ReplicaObserver, HERE)
    assert observer is not None
    observer.started(CALL)
    assert one.calls == 1
