"""Responses: waiting, cancelling, chaining, and errors that come instead of a result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
from typing import Any

import pytest

from alacarte import serve
from alacarte.context import current_call
from alacarte.errors import (
    BackPressureError,
    ConfigError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    NotFoundError,
    RemoteError,
    RequestCancelledError,
    ServeError,
)
from alacarte.runtime import get_runtime

from . import gates
from .gates import WAIT_S


class OwnError(Exception):
    """A user's exception, with state."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.code = code


class Stubborn(Exception):
    """Does not unpickle: its constructor wants more than its `args`."""

    def __init__(self, first: str, *, second: str) -> None:
        super().__init__(first)
        self.second = second


class Turned(Exception):
    """Unpickles to something else."""

    def __reduce__(self) -> Any:
        into = {"text": str, "exit": SystemExit, "cancelled": asyncio.CancelledError}
        return into[self.args[0]], ()


@serve.deployment(max_ongoing_requests=8)
class Worker:
    def __init__(self, inner: Any = None) -> None:
        self.inner = inner
        self.count = 0

    def add(self, left: Any = 0, right: Any = 0) -> Any:
        self.count += 1
        return left + right

    def counted(self) -> int:
        return self.count

    def wait(self, value: Any = None) -> Any:
        gates.GATE.pass_sync()
        return value

    async def wait_async(self, value: Any = None) -> Any:
        gates.GATE.note("began")
        await gates.GATE.pass_async()
        return value

    async def stay(self) -> None:
        await gates.GATE.wait_cancelled()

    def fail(self, text: str = "on purpose", code: int = 7) -> None:
        raise OwnError(text, code)

    async def fail_async(self) -> None:
        raise OwnError("on purpose", 7)

    def fail_chained(self) -> None:
        try:
            {}["missing"]
        except KeyError as error:
            raise OwnError("outer", 1) from error

    def fail_stubbornly(self) -> None:
        raise Stubborn("will not", second="travel")

    def stop_iteration(self) -> None:
        raise StopIteration("too early")

    def exit(self) -> None:
        raise SystemExit(3)

    def own(self) -> None:
        raise DeploymentUnavailableError("a#b", "of the user's making")

    async def nested_fail(self) -> None:
        await self.inner.fail.remote("deep", 9)

    async def nested_stay(self) -> None:
        await self.inner.stay.remote()

    async def cancelled_inside(self) -> str:
        response = self.inner.stay.remote()
        await asyncio.to_thread(gates.GATE.entered)
        response.cancel()
        try:
            await response
        except RequestCancelledError:
            return "told"
        return "not told"

    async def chained_inside(self) -> Any:
        first = self.inner.add.remote(1, 2)
        return await self.inner.add.remote(first, right=self.inner.add.remote(3, 4))

    def ids(self) -> tuple[str, ...]:
        return (current_call.get().request_id,)

    async def nested_ids(self) -> tuple[str, ...]:
        return (current_call.get().request_id, *await self.inner.ids.remote())

    def id_of(self, value: Any) -> tuple[str, Any]:
        return (serve.get_request_context().request_id, value)

    async def late(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gates.GATE.note(round(current_call.get().timeout_s, 3))

    async def nested_late(self) -> None:
        await self.inner.late.remote()

    def fail_oddly(self, kind: str) -> None:
        if kind == "group":
            raise ExceptionGroup("two", [OwnError("one", 1), KeyError("other")])
        if kind == "keyboard":
            raise KeyboardInterrupt
        raise Turned(kind)

    def deadline(self) -> float | None:
        return current_call.get().deadline

    async def nested_deadlines(self, timeout_s: float | None) -> tuple[float | None, ...]:
        method = self.inner.deadline.options(timeout_s=timeout_s)
        return (current_call.get().deadline, await method.remote())


@pytest.fixture
def worker(local):
    return local.run(Worker.bind())


@pytest.fixture
def outer(local):
    """A `Worker` whose `inner` is another `Worker`."""
    return local.run(Worker.bind(Worker.options(name="Inner").bind()))


# --- waiting ----------------------------------------------------------------------------


def test_a_result_is_kept(worker):
    """Asking again, by `result()` or `await`, gives the same object; the method ran once."""
    response = worker.add.remote([1], [2])

    async def wait() -> Any:
        return await response, await response

    first = response.result()
    assert first == [1, 2]
    assert response.result() is first
    assert all(each is first for each in asyncio.run(wait()))
    assert worker.counted.remote().result() == 1


async def test_awaiting_from_two_tasks(worker, gate):
    """Both get the result of the one call."""
    response = worker.wait.remote("done")

    async def wait() -> Any:
        return await response

    tasks = [asyncio.create_task(wait()) for _ in range(2)]
    await asyncio.to_thread(gate.entered)
    gate.open.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


def test_a_result_that_does_not_come_in_time(worker, gate):
    """`result(timeout_s)` gives up waiting, the request goes on, and its result can be had."""
    response = worker.wait.remote("late")
    gate.entered()
    for timeout_s in (0, 0.01):
        with pytest.raises(TimeoutError):
            response.result(timeout_s=timeout_s)
    assert not response.cancelled()
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == "late"


def test_waiting_in_threads(worker, gate):
    """Several threads may wait for one response."""
    response = worker.wait.remote("done")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(response.result, timeout_s=WAIT_S) for _ in range(3)]
        gate.entered()
        gate.open.set()
        assert [future.result(WAIT_S) for future in waiting] == ["done"] * 3


def test_a_response_that_is_not_awaited(worker, gate):
    """The method of a dropped response runs, and its error is not logged as unretrieved."""
    worker.wait_async.remote()
    assert gate.next_note() == "began"
    gate.open.set()
    worker.fail.remote()
    assert worker.add.remote(1, 2).result() == 3


def test_request_ids(worker, outer):
    """Each call has a request id, which its handler and nested calls share."""
    responses = [outer.nested_ids.remote() for _ in range(3)]
    for response in responses:
        assert response.result() == (response.request_id, response.request_id)
    assert len({response.request_id for response in responses}) == 3


def test_pickling_a_response(worker):
    """A response that is pickled is refused, and the error says how to pass its result."""
    response = worker.add.remote(1, 2)
    with pytest.raises(ServeError, match="pass the response itself as an argument"):
        pickle.dumps(response)
    with pytest.raises(ConfigError, match=r"argument 1 cannot be sent.*pass the response itself"):
        worker.add.remote([response])
    assert response.result() == 3


# --- chaining ---------------------------------------------------------------------------


def test_responses_as_arguments(worker):
    """The results of responses arrive as arguments, in place; the responses stay usable."""
    one, two = worker.add.remote("a", "b"), worker.add.remote("c", "d")
    assert worker.add.remote(one, right=two).result(timeout_s=WAIT_S) == "abcd"
    assert worker.add.remote("x", one).result(timeout_s=WAIT_S) == "xab"
    assert worker.add.remote(one, one).result(timeout_s=WAIT_S) == "abab"
    assert (one.result(), two.result()) == ("ab", "cd")


def test_a_long_chain(worker):
    """A chain is made at once and resolved in order."""
    response = worker.add.remote(0, 1)
    for _ in range(20):
        response = worker.add.remote(response, 1)
    assert response.result(timeout_s=WAIT_S) == 21


def test_chaining_does_not_wait(worker, gate):
    """`remote` is back though its argument is still being worked on."""
    upstream = worker.wait.remote(1)
    downstream = worker.add.remote(upstream, 1)
    gate.entered()
    gate.open.set()
    assert downstream.result(timeout_s=WAIT_S) == 2


async def test_chaining_on_another_loop(worker):
    """Responses as arguments work on another loop than the runtime's."""
    assert await worker.add.remote(worker.add.remote(1, 2), right=worker.add.remote(3, 4)) == 10


def test_chaining_inside_a_replica(outer):
    """Responses as arguments work inside a replica."""
    assert outer.chained_inside.remote().result(timeout_s=WAIT_S) == 10


def test_a_failed_argument(worker):
    """The error of an argument's call is raised, and the method does not run."""
    with pytest.raises(OwnError, match="on purpose") as caught:
        worker.add.remote(worker.fail.remote(), 1).result(timeout_s=WAIT_S)
    assert caught.value.code == 7
    with pytest.raises(OwnError):
        worker.add.remote(1, right=worker.fail.remote()).result(timeout_s=WAIT_S)
    assert worker.counted.remote().result() == 0


# --- cancelling -------------------------------------------------------------------------


def test_cancelling(worker, gate):
    """The handler is cancelled where it waits, and the caller gets the error."""
    response = worker.stay.remote()
    gate.entered()
    assert not response.cancelled()
    response.cancel()
    assert response.cancelled()
    assert gate.next_note() == "cancelled"
    for _ in range(2):
        with pytest.raises(RequestCancelledError, match=response.request_id):
            response.result(timeout_s=WAIT_S)
    with pytest.raises(RequestCancelledError):
        asyncio.run(_await(response))


async def test_cancelling_an_awaited_call(worker, gate):
    """A task that waits for the response gets the error, and is not cancelled itself."""
    response = worker.stay.remote()
    waiting = asyncio.create_task(_await(response))
    await asyncio.to_thread(gate.entered)
    response.cancel()
    with pytest.raises(RequestCancelledError):
        await waiting
    assert await asyncio.to_thread(gate.next_note) == "cancelled"


def test_cancelling_inside_a_replica(outer, gate):
    """An async handler may cancel its nested call."""
    assert outer.cancelled_inside.remote().result(timeout_s=WAIT_S) == "told"
    assert gate.next_note() == "cancelled"


def test_cancelling_reaches_nested_calls(outer, gate):
    """The nested calls of a cancelled handler are cancelled."""
    response = outer.nested_stay.remote()
    gate.entered()
    response.cancel()
    assert gate.next_note() == "cancelled"


async def test_a_waiter_that_is_cancelled(worker, gate):
    """Cancelling the task that waits cancels the request, and the task ends as cancelled."""
    waiting = asyncio.create_task(_await(worker.stay.remote()))
    await asyncio.to_thread(gate.entered)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(gate.next_note) == "cancelled"


async def test_a_waiter_that_runs_out_of_time(worker, gate):
    """`asyncio.timeout` around an await cancels the request."""
    response = worker.stay.remote()
    await asyncio.to_thread(gate.entered)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await response
    assert await asyncio.to_thread(gate.next_note) == "cancelled"


def test_cancelling_a_waiting_call(local, gate):
    """A call cancelled before it was sent reaches no replica."""
    worker = local.run(Worker.options(max_ongoing_requests=1).bind())
    first = worker.wait_async.remote("first")
    gate.entered()
    second = worker.wait_async.remote("second")
    second.cancel()
    with pytest.raises(RequestCancelledError):
        second.result(timeout_s=WAIT_S)
    # The answer to the first may be read before the loop has heard of the cancellation.
    get_runtime().submit(asyncio.sleep(0)).result(WAIT_S)
    gate.open.set()
    assert first.result(timeout_s=WAIT_S) == "first"
    assert worker.add.remote(1, 2).result(timeout_s=WAIT_S) == 3
    assert gate.notes() == ["began"]


def test_cancelling_too_late(worker):
    """A result that is here stays; cancelling twice is fine."""
    response = worker.add.remote(1, 2)
    assert response.result() == 3
    response.cancel()
    response.cancel()
    assert response.result() == 3


async def _await(response: Any) -> Any:
    return await response


# --- errors -----------------------------------------------------------------------------


def test_a_users_exception(worker):
    """An exception keeps its type, arguments and state; its cause shows the user's frame."""
    response = worker.fail.remote("broken", 42)
    for _ in range(2):
        with pytest.raises(OwnError) as caught:
            response.result()
    assert type(caught.value) is OwnError
    assert (caught.value.args, caught.value.code) == (("broken", 42), 42)
    told = str(caught.value.__cause__)
    assert "in fail\n" in told
    assert "raise OwnError(text, code)" in told


@pytest.mark.parametrize("method", ["fail", "fail_async"])
def test_the_users_frame_comes_first(worker, method):
    """The traceback begins in the handler, sync or async, without alacarte's frames."""
    with pytest.raises(OwnError) as caught:
        getattr(worker, method).remote().result()
    frames = [line for line in str(caught.value.__cause__).splitlines() if "  File " in line]
    assert frames[0].endswith(f"in {method}")


async def test_a_users_exception_on_another_loop(worker):
    """An awaited exception is the same as where no loop runs."""
    with pytest.raises(OwnError, match="broken") as caught:
        await worker.fail.remote("broken", 42)
    assert caught.value.code == 42


def test_the_cause_of_an_exception(worker):
    """The traceback contains the exception's cause."""
    with pytest.raises(OwnError, match="outer") as caught:
        worker.fail_chained.remote().result()
    assert "KeyError: 'missing'" in str(caught.value.__cause__)


def test_an_exception_through_two_deployments(outer):
    """The ingress's caller gets the type that was raised inside."""
    with pytest.raises(OwnError, match="deep") as caught:
        outer.nested_fail.remote().result(timeout_s=WAIT_S)
    assert caught.value.code == 9


def test_an_exception_that_does_not_travel(worker):
    """A `RemoteError` has type, message and the user's frame."""
    with pytest.raises(RemoteError) as caught:
        worker.fail_stubbornly.remote().result()
    assert caught.value.type_name.endswith("Stubborn")
    assert caught.value.message == "will not"
    assert "in fail_stubbornly" in caught.value.traceback


def test_exceptions_with_a_meaning_to_python(worker):
    """`StopIteration` and `SystemExit` end the request only, and as errors."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        worker.stop_iteration.remote().result(timeout_s=WAIT_S)
    with pytest.raises(ServeError, match="SystemExit"):
        worker.exit.remote().result(timeout_s=WAIT_S)
    assert worker.add.remote(1, 2).result(timeout_s=WAIT_S) == 3


def test_one_of_our_errors_raised_by_a_user(worker):
    """A core error that user code raises arrives unchanged."""
    with pytest.raises(DeploymentUnavailableError, match="of the user's making") as caught:
        worker.own.remote().result()
    assert caught.value.deployment == "a#b"


def test_a_full_queue(local, gate):
    """Beyond `max_queued_requests` a call is refused at once; all others are answered."""
    worker = local.run(Worker.options(max_ongoing_requests=1, max_queued_requests=2).bind())
    first = worker.wait.remote(1)
    gate.entered()
    queued = [worker.add.remote(2, 0), worker.add.remote(3, 0)]
    with pytest.raises(BackPressureError) as caught:
        worker.add.remote(4, 0).result(timeout_s=WAIT_S)
    error = caught.value
    assert (error.deployment, error.queued, error.limit) == ("default#Worker", 2, 2)
    assert error.num_queued_requests == error.max_queued_requests == 2
    assert error.retry_after_s > 0
    gate.open.set()
    assert [each.result(timeout_s=WAIT_S) for each in (first, *queued)] == [1, 2, 3]


def test_a_deployment_that_is_gone(local):
    """A call to a deleted application fails and names it."""
    worker = local.run(Worker.bind())
    local.delete("default")
    with pytest.raises(DeploymentUnavailableError, match="default#Worker is unavailable"):
        worker.add.remote().result(timeout_s=WAIT_S)


def test_a_missing_method_is_an_error_of_the_result(worker):
    """`remote` does not know the methods there are; the response does."""
    response = worker.ad.remote()
    with pytest.raises(NotFoundError, match="no method 'ad'"):
        response.result()


# --- time -------------------------------------------------------------------------------


def test_a_timeout(worker, gate):
    """A call that takes longer fails by its deadline, and its handler is cancelled."""
    response = worker.options(timeout_s=0.1).stay.remote()
    with pytest.raises(DeadlineExceededError, match="default#Worker: no reply within 0") as caught:
        response.result()
    assert caught.value.timeout_s == pytest.approx(0.1, abs=0.05)
    assert gate.next_note() == "cancelled"
    assert issubclass(DeadlineExceededError, TimeoutError)


def test_a_timeout_in_the_queue(local, gate):
    """Time spent waiting for a replica counts; the call never reaches one."""
    worker = local.run(Worker.options(max_ongoing_requests=1).bind())
    first = worker.wait.remote(1)
    gate.entered()
    with pytest.raises(DeadlineExceededError):
        worker.options(timeout_s=0.05).wait_async.remote().result(timeout_s=WAIT_S)
    gate.open.set()
    assert first.result(timeout_s=WAIT_S) == 1
    assert gate.notes() == []


def test_a_timeout_reaches_nested_calls(outer, gate):
    """A nested call without a timeout ends with the request's deadline."""
    response = outer.options(timeout_s=0.2).nested_stay.remote()
    with pytest.raises(DeadlineExceededError):
        response.result()
    assert gate.next_note() == "cancelled"


@pytest.mark.parametrize(
    ("given", "wanted", "inherited"),
    [(None, None, None), (50.0, None, True), (50.0, 90.0, True), (50.0, 1.0, False)],
)
def test_deadlines_are_inherited(outer, given, wanted, inherited):
    """A nested call has the request's remaining time, or its own timeout if that is shorter."""
    call = outer.nested_deadlines.options(timeout_s=given).remote(wanted)
    mine, nested = call.result(timeout_s=WAIT_S)
    if inherited is None:
        assert mine is nested is None
    elif inherited:
        assert nested == pytest.approx(mine, abs=0.5)
    else:
        assert nested < mine - 40


def test_the_id_of_a_chained_call(worker, gate):
    """The request id is known before the call can be sent, and the handler sees the same."""
    upstream = worker.wait.remote(7)
    response = worker.options(method_name="id_of").remote(upstream)
    gate.entered()
    assert len(response.request_id) == 32
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == (response.request_id, 7)


def test_the_timeout_in_errors(outer):
    """An error names the timeout that was set, not the remaining time at a later hop."""
    with pytest.raises(DeadlineExceededError) as caught:
        outer.options(timeout_s=0.3).nested_late.remote().result()
    assert caught.value.timeout_s == 0.3
    assert gates.GATE.next_note() == 0.3


def test_odd_exceptions(worker):
    """Exception groups arrive as themselves; other pickling results become a `RemoteError`."""
    with pytest.raises(ExceptionGroup) as group:
        worker.fail_oddly.remote("group").result()
    assert [type(each) for each in group.value.exceptions] == [OwnError, KeyError]
    for kind in ("text", "exit", "cancelled"):
        with pytest.raises(RemoteError, match="Turned"):
            worker.fail_oddly.remote(kind).result()
    with pytest.raises(Exception, match="keyboard|KeyboardInterrupt"):
        worker.fail_oddly.remote("keyboard").result()
    assert worker.add.remote(1, 2).result() == 3


def test_a_generator_as_argument(worker):
    """A generator as an argument is refused by name; a streaming method yields items instead."""
    with pytest.raises(ConfigError, match=r"add\(\): argument 1 cannot be sent.*generator"):
        worker.add.remote(each for each in "ab")
