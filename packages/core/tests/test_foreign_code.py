"""An exception of user code, of any type, fails its own request only, and no replica."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from alacarte import serve
from alacarte._cluster.loop_thread import LoopThread
from alacarte.errors import DeployError, InternalError, ServeError
from alacarte.foreign import as_exception, describe_error, is_cancellation
from alacarte.testing import wait_until

from . import gates
from .gates import fresh_gate

WAIT_S = 20
DEADLY = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


class Hostile(Exception):
    """Raises the requested exception from each of its methods."""

    def __init__(self, raises: type[BaseException]) -> None:
        self.raises = raises

    def __str__(self) -> str:
        raise self.raises(4)

    def __reduce__(self) -> Any:
        raise self.raises(4)

    __repr__ = __str__


class HostileBase(BaseException):
    def __str__(self) -> str:
        raise SystemExit(4)

    __repr__ = __str__


class Gate(gates.Gate):
    """A gate for an innocent request, while other requests do harm."""

    def __init__(self) -> None:
        super().__init__()
        self.raises: type[BaseException] = SystemExit
        self.ill = ""
        self.closed = threading.Event()


GATE = Gate()


gate = fresh_gate(__name__, Gate)


@serve.deployment(max_ongoing_requests=10, health_check_period_s=0.05)
class Dangerous:
    """Does harm in each of the tested ways."""

    async def innocent(self) -> str:
        GATE.inside.release()
        while not GATE.open.is_set():
            await asyncio.sleep(0.005)
        return serve.get_replica_context().replica_id

    async def who(self) -> str:
        return serve.get_replica_context().replica_id

    async def raises(self) -> None:
        raise GATE.raises(3)

    def raises_in_thread(self) -> None:
        raise GATE.raises(3)

    async def raises_hostile(self) -> None:
        raise Hostile(GATE.raises)

    async def raises_hostile_base(self) -> None:
        raise HostileBase

    async def in_a_task_of_its_own(self) -> None:
        async def die() -> None:
            raise GATE.raises(3)

        await asyncio.gather(asyncio.create_task(die()), return_exceptions=True)
        raise ValueError("the task is gone")

    async def stops_the_loop(self) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        raise ValueError("the loop was stopped")

    async def closes_badly(self) -> Any:
        try:
            yield 1
            raise ValueError("the first error")
        finally:
            raise GATE.raises(3)

    def closes_badly_in_thread(self) -> Any:
        try:
            yield 1
        finally:
            raise GATE.raises(3)

    async def check_health(self) -> None:
        if serve.get_replica_context().replica_id == GATE.ill:
            raise GATE.raises(3)


@serve.deployment
class Ending:
    """Raises in its destructor."""

    async def __call__(self) -> str:
        return "here"

    def __del__(self) -> None:
        if not GATE.closed.is_set():
            GATE.closed.set()
            raise GATE.raises(3)


CALLS = [
    "raises", "raises_in_thread", "raises_hostile", "raises_hostile_base",
    "in_a_task_of_its_own", "stops_the_loop",
]  # fmt: skip
STREAMS = ["closes_badly", "closes_badly_in_thread"]


@pytest.mark.parametrize("raises", DEADLY)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_request_raises_ends_that_request_alone(local, gate, raises):
    """Each caller gets an error at once; a concurrent request and the replica continue."""
    gate.raises = raises
    handle = local.run(Dangerous.bind())
    innocent = handle.runtime.submit(handle.ask(method="innocent"))
    assert gate.inside.acquire(timeout=WAIT_S)
    replica = handle.call(method="who")
    for method in CALLS:
        with pytest.raises((ServeError, ValueError)):
            handle.runtime.submit(handle.ask(method=method)).result(WAIT_S)
    for method in STREAMS:
        with pytest.raises((ServeError, ValueError)):
            handle.runtime.submit(handle.ask(method=method, streaming=True)).result(WAIT_S)
    assert handle.call(method="who") == replica
    gate.open.set()
    assert innocent.result(WAIT_S) == replica


@pytest.mark.parametrize("raises", DEADLY)
def test_a_constructor_that_ends_the_program(local, gate, raises):
    """The deployment fails with the raised exception, and the instance continues."""

    @serve.deployment(max_constructor_retry_count=1)
    class Broken:
        def __init__(self) -> None:
            raise raises(3)

    with pytest.raises(DeployError, match=raises.__name__):
        local.run(Broken.bind(), name="broken")
    assert local.run(Dangerous.bind(), name="fine").call(method="who")


@pytest.mark.parametrize("raises", DEADLY)
def test_a_check_that_ends_the_program(local, gate, raises, observer):
    """Any exception is a failed health check, and the replica is replaced."""
    gate.raises = raises
    handle = local.run(Dangerous.bind())
    before = handle.call(method="who")
    gate.ill = before
    wait_until(lambda: handle.call(method="who") != before, timeout_s=WAIT_S)
    overview = local.status().applications["default"].deployments["Dangerous"]
    assert raises.__name__ in str(overview.recent_failures)


@pytest.mark.parametrize("raises", DEADLY)
def test_a_reconfigure_that_ends_the_program(local, gate, raises):
    """The update fails, and the replica continues with its previous settings."""

    @serve.deployment(user_config={"bad": False})
    class Configured:
        def reconfigure(self, config: Any) -> None:
            if config["bad"]:
                raise raises(3)

        async def __call__(self) -> str:
            return "on"

    handle = local.run(Configured.bind())
    with pytest.raises(DeployError, match=raises.__name__):
        local.run(Configured.options(user_config={"bad": True}).bind())
    assert handle.call() == "on"


@pytest.mark.parametrize("raises", DEADLY)
def test_a_destructor_that_ends_the_program(local, gate, raises):
    """The replica stops despite its destructor, and the next replica starts."""

    gate.raises = raises
    assert local.run(Ending.bind()).call() == "here"
    local.delete("default")
    assert gate.closed.is_set()
    assert local.run(Ending.bind()).call() == "here"


def test_an_observer_that_ends_the_program(local, observer, monkeypatch):
    """A plugin that raises SystemExit in `on_event` does not harm the controller."""

    def raising(event: Any) -> None:
        raise SystemExit(7)

    observer.events = type("Events", (), {"append": staticmethod(raising)})()
    assert local.run(Dangerous.bind()).call(method="who")


# --- the pieces -------------------------------------------------------------------------


def test_a_loop_goes_on_when_foreign_code_stops_it(caplog):
    """SystemExit from a task and `loop.stop()` do not end concurrent work."""
    thread = LoopThread("tested")
    beside = thread.submit(asyncio.sleep(0.02, "done"))

    async def die(kind: type[BaseException]) -> None:
        raise kind(3)

    for kind in (SystemExit, KeyboardInterrupt):
        with pytest.raises(kind):
            thread.submit(die(kind)).result(WAIT_S)
    thread.loop.call_soon_threadsafe(thread.loop.stop)
    assert beside.result(WAIT_S) == "done"
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 2
    thread.stop()
    assert thread.loop.is_closed()


def test_a_loop_ends_though_a_task_raises_when_cancelled():
    """Exceptions of ending tasks do not delay the stop of a loop."""
    thread = LoopThread("tested")

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SystemExit(3)

    for _ in range(3):
        thread.submit(stubborn())
    thread.stop()
    assert thread.loop.is_closed()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), HostileBase()])
def test_what_may_leave_a_task(error):
    """An Exception is returned unchanged, another exception as an InternalError."""
    found = as_exception(error)
    assert type(found) is InternalError
    assert type(error).__name__ in str(found)
    kept = ValueError("x")
    assert as_exception(kept) is kept


def test_the_text_of_any_error():
    """An exception whose `__str__` raises still has a description."""
    assert describe_error(ValueError("x")) == "ValueError: x"
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(Hostile(SystemExit)) == (
        "Hostile: (the message cannot be shown: str() of the error failed)"
    )


async def test_whose_cancellation_it_is():
    """Only the cancellation of the current task must be raised again."""
    seen: list[bool] = []

    async def work() -> None:
        seen.append(is_cancellation(asyncio.CancelledError()))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append(is_cancellation(error))
            seen.append(is_cancellation(ValueError()))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert seen == [False, True, False]
