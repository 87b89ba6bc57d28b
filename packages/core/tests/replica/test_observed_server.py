"""A replica with observed calls: each started call has one end, and works as without."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from alacarte._replica.observed_server import ObservedServer
from alacarte.errors import BackPressureError, ErrorCode
from alacarte.types import Call, Outcome, ReplicaObserver, Reply

from .bench import HERE, Bench, settle


class Noted(ReplicaObserver):
    """An observer that records its events."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.outcomes: dict[str, Outcome] = {}

    def rejected(self, call: Call) -> None:
        self.heard.append(f"rejected {name(call)}")

    def started(self, call: Call) -> None:
        self.heard.append(f"started {name(call)}")

    def first_part(self, call: Call) -> None:
        self.heard.append(f"first_part {name(call)}")

    def ended(self, call: Call, outcome: Outcome) -> None:
        self.heard.append(f"{outcome.kind} {name(call)}")
        self.outcomes[name(call)] = outcome


def name(call: Call) -> str:
    return bytes(call.payload[0]).decode()


class ObservedBench(Bench):
    """A bench with an observed server, where replies of `500` are errors."""

    def __init__(self, max_ongoing: int = 2) -> None:
        super().__init__(max_ongoing)
        self.noted = Noted()
        listener = self.server.listener
        self.server = ObservedServer(
            HERE, {"work": self.work}, max_ongoing, self.noted, self.failure_code
        )
        self.server.listener = listener

    def failure_code(self, call: Call, reply: Reply) -> ErrorCode | None:
        return ErrorCode.INTERNAL if bytes(reply.payload[0]) == b"500" else None


def test_calls_that_answer(run):
    """Started, and ended as the protocol judges the reply."""

    async def main():
        b = ObservedBench()
        for each in ("fine", "500"):
            stream, task = b.accept(each)
            await settle()
            b.gates[each].set()
            await task
            assert stream.sent == [each.encode()]
        assert b.noted.heard == ["started fine", "success fine", "started 500", "error 500"]
        assert b.noted.outcomes["fine"].first_part_s is not None
        assert b.noted.outcomes["500"].code is ErrorCode.INTERNAL
        b.check_idle()

    run(main)


def test_calls_that_are_refused(run):
    """Rejected, and never started."""

    async def main():
        b = ObservedBench(1)
        b.accept("1")
        await settle()
        b.accept("2")
        await settle()
        assert b.noted.heard == ["started 1", "rejected 2"]
        await b.server.cancel()
        assert b.noted.heard[-1] == "cancelled 1"
        b.check_idle()

    run(main)


def test_calls_that_raise(run):
    """The exception's class, and the code of an error of requests; the caller gets the error."""
    error: Any = None

    async def fail(call: Call) -> Reply:
        raise error

    async def main():
        nonlocal error
        b = ObservedBench()
        b.behaviour = fail
        codes = {}
        for each in (ValueError("x"), BackPressureError("a#b", 1, 1), SystemExit(3)):
            error = each
            stream, _ = b.accept("1")
            await settle()
            assert isinstance(stream.sent[0], Exception)
            outcome = b.noted.outcomes["1"]
            assert outcome.kind == "error"
            codes[outcome.error_type] = outcome.code
        assert codes == {
            "ValueError": ErrorCode.INTERNAL,
            "BackPressureError": ErrorCode.RESOURCE_EXHAUSTED,
            "SystemExit": ErrorCode.INTERNAL,
        }
        stream, _ = b.accept("1", protocol="unknown")
        await settle()
        assert b.noted.outcomes["1"].error_type == "NotFoundError"
        b.check_idle()

    run(main)


def test_replies_that_stream(run):
    """The first part has its time; an error in the middle is the end."""

    async def parts(fails: bool) -> Any:
        yield (b"a",)
        await asyncio.sleep(0)
        if fails:
            raise ValueError("x")
        yield (b"b",)

    async def stream(call: Call) -> Reply:
        return Reply((b"",), parts(name(call) == "broken"))

    async def main():
        b = ObservedBench()
        b.behaviour = stream
        for each in ("whole", "broken"):
            b.accept(each)
            await settle()
        assert b.noted.heard == [
            "started whole", "first_part whole", "success whole",
            "started broken", "first_part broken", "error broken",
        ]  # fmt: skip
        assert b.noted.outcomes["broken"].error_type == "ValueError"
        b.check_idle()

    run(main)


def test_nothing_is_kept(run):
    """When calls have ended, nothing of them is left."""

    async def main():
        b = ObservedBench(5)
        tasks = [b.accept(each)[1] for each in "123"]
        await settle()
        tasks[0].cancel()
        b.gates["2"].set()
        await settle()
        await b.server.cancel()
        assert b.noted.heard.count("cancelled 1") == 1
        assert not b.server._running
        assert isinstance(b.server.listener, SimpleNamespace)

    run(main)
