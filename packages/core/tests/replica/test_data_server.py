"""The replica's data server: accepting, rejecting, running and draining."""

from __future__ import annotations

import asyncio

import pytest

from alacarte._wire.frames import Kind
from alacarte.context import current_call
from alacarte.errors import InternalError, NotFoundError, ServeError
from alacarte.types import Call, Reply

from .bench import Bench, settle


def test_the_limit_on_requests(run):
    """Up to `max_ongoing` calls are worked on; the next is rejected unstarted."""

    async def main():
        b = Bench(2)
        taken = [b.accept(name) for name in "123"]
        await settle()
        assert [task is not None for _, task in taken] == [True, True, False]
        assert b.begun == ["1", "2"]
        assert b.server.ongoing == b.server.listener.load.ongoing == 2
        b.gates["1"].set()
        await settle()
        assert taken[0][0].sent == [b"1"]
        assert b.accept("4")[1] is not None
        await b.server.cancel()
        b.check_idle()

    run(main)


def test_refused_callers_get_load_when_a_slot_is_free(run):
    """Each connection with a rejected call gets one LOAD, and no other does."""

    async def main():
        b = Bench(1)
        _, task = b.accept("1")
        b.accept("2")
        b.accept("3")
        await settle()
        assert b.connection.frames == []
        b.gates["1"].set()
        await task
        assert b.connection.frames == [Kind.LOAD]
        _, task = b.accept("1")
        await task
        assert b.connection.frames == [Kind.LOAD]

    run(main)


def test_a_closed_connection_gets_no_load(run):
    """Hanging up ends its claim to hear of free slots."""

    async def main():
        b = Bench(1)
        _, task = b.accept("1")
        b.accept("2")
        b.server.connection_ended(b.connection)
        await settle()
        b.gates["1"].set()
        await task
        assert b.connection.frames == []

    run(main)


def test_the_limit_may_change(run):
    """A new `max_ongoing` holds from the next call on."""

    async def main():
        b = Bench(1)
        b.accept("1")
        assert b.accept("2")[1] is None
        b.server.max_ongoing = 2
        assert b.accept("3")[1] is not None
        await b.server.cancel()
        b.check_idle()

    run(main)


def test_cancelled_before_its_first_step(run):
    """A call that never began gives its slot back all the same, and runs no user code."""

    async def main():
        b = Bench(1)
        _, task = b.accept("1")
        assert b.server.ongoing == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()
        assert b.begun == []
        b.check_idle()
        assert b.accept("2")[1] is not None
        await b.server.cancel()

    run(main)


def test_cancelled_at_work(run):
    """The user's code gets the cancellation, and the slot is free once, not twice."""

    async def main():
        b = Bench(2)
        ended = []

        async def wait(call):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        b.behaviour = wait
        b.accept("other")
        _, task = b.accept("1")
        await settle()
        task.cancel()
        await settle()
        assert ended == ["cleaned up"]
        assert b.server.ongoing == 1
        await b.server.cancel()
        b.check_idle()

    run(main)


@pytest.mark.parametrize("error", [ValueError("the user's"), ServeError("ours"), TimeoutError()])
def test_an_exception_is_an_answer(run, error):
    """The caller gets the exception, and the slot is free."""

    async def main():
        b = Bench()

        async def fail(call):
            raise error

        b.behaviour = fail
        stream, task = b.accept("1")
        await task
        assert stream.sent == [error]
        b.check_idle()

    run(main)


def test_a_traceback_is_logged_where_it_happened(run, caplog):
    """The log names deployment, method and request; errors of core are not logged."""

    async def main():
        b = Bench()

        async def fail(call):
            raise (ValueError if call.payload[0] == b"1" else ServeError)("no such user")

        b.behaviour = fail
        await b.accept("1", request_id="req-7", method="predict")[1]
        await b.accept("2", request_id="req-8")[1]

    run(main)
    [record] = caplog.records
    assert "shop#model.predict failed, request req-7" in record.getMessage()
    assert "ValueError: no such user" in record.getMessage()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_system_exit_ends_one_request(run, error):
    """`sys.exit()` in a handler is answered with an error, and the replica goes on."""

    async def main():
        b = Bench()

        async def leave(call):
            raise error

        b.behaviour = leave
        stream, task = b.accept("1")
        await task
        assert isinstance(stream.sent[0], InternalError | ServeError)
        assert type(error).__name__ in str(stream.sent[0])
        b.behaviour = None
        stream, task = b.accept("2")
        await settle()
        b.gates["2"].set()
        await task
        assert stream.sent == [b"2"]
        b.check_idle()

    run(main)


def test_an_unknown_protocol(run):
    """The error names the unknown protocol and the known ones."""

    async def main():
        b = Bench()
        stream, task = b.accept("1", protocol="http")
        await task
        assert isinstance(stream.sent[0], NotFoundError)
        assert "'http', only ['work']" in str(stream.sent[0])
        b.check_idle()

    run(main)


def test_the_request_is_known_to_the_code_it_runs(run):
    """Each call runs in its own context, in which it is the current call."""

    async def main():
        b = Bench(10)
        seen = []

        async def look(call):
            await asyncio.sleep(0)
            seen.append(current_call.get() is call)
            return Reply((b"",))

        b.behaviour = look
        await asyncio.gather(*(b.accept(name)[1] for name in "123"))
        assert seen == [True] * 3
        assert current_call.get() is None

    run(main)


def streaming(*items: bytes, closed: list[str]):
    async def rest():
        try:
            for item in items:
                yield (item,)
                await asyncio.sleep(0)
        finally:
            closed.append("closed")

    async def work(call):
        return Reply((b"",), rest())

    return work


def test_a_stream_holds_its_slot_to_the_end(run):
    """Messages, then the end; only then is the slot free."""

    async def main():
        b = Bench(1)
        closed = []
        b.behaviour = streaming(b"a", b"b", closed=closed)
        stream, task = b.accept("1")
        await asyncio.sleep(0)
        assert b.accept("2")[1] is None
        await task
        assert stream.sent == [b"a", b"b", "end"]
        assert closed == ["closed"]
        b.check_idle()

    run(main)


def test_a_stream_that_is_cancelled_is_closed(run):
    """The user's generator ends with its `finally`, before the slot is given on."""

    async def main():
        b = Bench(1)
        closed = []

        async def for_ever():
            try:
                yield (b"x",)
                await asyncio.Event().wait()
            finally:
                closed.append("closed")

        async def work(call):
            return Reply((b"",), for_ever())

        b.behaviour = work
        stream, task = b.accept("1")
        await settle()
        assert stream.sent == [b"x"]
        task.cancel()
        await settle()
        assert closed == ["closed"]
        b.check_idle()

    run(main)


def test_draining(run):
    """Callers get GOAWAY at once; calls in flight end; no new call is accepted."""

    async def main():
        b = Bench(2)
        stream, _ = b.accept("1")
        await settle()
        drained = asyncio.create_task(b.server.drain())
        await settle()
        assert b.announced == [Kind.GOAWAY]
        assert not drained.done()
        assert b.accept("2")[1] is None
        assert b.connection.frames == [Kind.GOAWAY]  # for those who have not heard
        b.gates["1"].set()
        await drained
        assert stream.sent == [b"1"]
        assert b.connection.frames == [Kind.GOAWAY]  # no LOAD: there is nothing to come for

    run(main)


def test_draining_waits_for_callers_to_disconnect(run):
    """Calls that cross with GOAWAY are rejected, not lost in a closed socket."""

    async def main():
        b = Bench(2)
        b.server.listener.connections.add(b.connection)
        drained = asyncio.create_task(b.server.drain())
        await settle()
        assert not drained.done()
        stream, task = b.accept("late")
        assert (task, stream.sent) == (None, [])
        b.server.listener.connections.clear()
        b.server.connection_ended(b.connection)
        await settle()
        assert drained.done()

    run(main)


def test_draining_is_bounded(run):
    """A caller that is stopped, say, holds a replica up for seconds only."""

    async def main():
        b = Bench(2)
        b.server.listener.connections.add(b.connection)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await b.server.drain()
        assert loop.time() - began < 10

    run(main)


def test_draining_when_idle(run):
    """An idle replica drains at once."""

    async def main():
        b = Bench()
        await b.server.drain()
        assert b.announced == [Kind.GOAWAY]

    run(main)


def test_calls_after_the_grace_period_are_cancelled(run):
    """After the grace period every call is cancelled with the error that the replica stops."""

    async def main():
        b = Bench(2)
        stream, _ = b.accept("1")
        await settle()
        await b.server.cancel()
        assert "the replica is stopping" in str(stream.sent[0])
        assert b.accept("2")[1] is None
        b.check_idle()

    run(main)


def test_a_cancellation_of_the_users_own(run):
    """Code that waits for a task of its own which was cancelled has failed; nothing is stopping."""

    async def main():
        b = Bench(2)

        async def inner_cancelled(call):
            inner = asyncio.ensure_future(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(inner.cancel)
            await inner

        b.behaviour = inner_cancelled
        stream, task = b.accept("1")
        await asyncio.gather(task, return_exceptions=True)
        assert "stopping" not in str(stream.sent[0])
        assert "CancelledError" in str(stream.sent[0])
        b.check_idle()

    run(main)


def test_beyond_the_limit(run):
    """A full replica accepts and counts a broadcast; a draining replica rejects it."""

    async def main():
        b = Bench(1)
        b.accept("1")
        _, task = b.accept("all", bypass_limit=True)
        assert task is not None
        assert b.server.ongoing == 2
        assert b.accept("2")[1] is None
        await b.server.cancel()
        assert b.accept("all", bypass_limit=True)[1] is None
        b.check_idle()

    run(main)


def test_an_abandoned_thread_keeps_its_slot(run):
    """No call takes the slot of a busy thread; LOAD is sent when the thread returns."""

    async def main():
        b = Bench(1)
        b.server.thread_abandoned()
        assert b.server.listener.load.ongoing == 1
        assert b.accept("1")[1] is None
        b.server.thread_returned()
        assert b.connection.frames == [Kind.LOAD]
        assert b.server.listener.load.ongoing == 0
        _, task = b.accept("1")
        assert task is not None
        await b.server.cancel()
        b.check_idle()

    run(main)


def test_nested_calls_end_with_their_call(run):
    """Nested calls are cancelled with their call, and left alone by its normal end."""

    class Nested:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    async def main():
        b = Bench(2)
        nested = {"1": Nested(), "2": Nested()}

        async def behaviour(call: Call) -> Reply:
            name = bytes(call.payload[0]).decode()
            current_call.get().nested.add(nested[name])
            await b.gates.setdefault(name, asyncio.Event()).wait()
            return Reply(call.payload)

        b.behaviour = behaviour
        _, one = b.accept("1")
        _, two = b.accept("2")
        await settle()
        b.gates["1"].set()
        await one
        two.cancel()
        await settle()
        assert [each.cancelled for each in nested.values()] == [False, True]

    run(main)
