"""Composition of layers, and the layers of deadlines."""

from __future__ import annotations

import asyncio
import pickle
import time

import pytest

from alacarte.errors import DeadlineExceededError
from alacarte.layers import compose, deadline, drop_expired
from alacarte.types import Call, DeploymentId, Reply

HERE = DeploymentId("shop", "model")


def call(left_s: float | None) -> Call:
    return Call("python", (b"",), deadline=None if left_s is None else time.monotonic() + left_s)


def test_the_first_layer_is_outermost(run):
    """A call passes the layers in order, and the reply in reverse order."""
    passed = []

    def layer(name):
        def wrap(service):
            async def run(request):
                passed.append(name)
                reply = await service(request)
                passed.append(name.upper())
                return reply

            return run

        return wrap

    async def service(request):
        passed.append("service")
        return Reply((b"",))

    async def main():
        await compose(service, iter([layer("a"), layer("b")]))(call(None))

    run(main)
    assert passed == ["a", "b", "service", "B", "A"]


def test_no_layers_no_wrapping():
    """Without layers, the result is the service itself."""

    async def service(request):
        return Reply((b"",))

    assert compose(service, []) is service


@pytest.mark.parametrize("left_s", [None, 60.0])
def test_in_time(run, left_s):
    """A reply before the deadline, or without a deadline, passes unchanged."""
    reply = Reply((b"x",))

    async def service(request):
        return reply

    async def main():
        assert await deadline(HERE)(service)(call(left_s)) is reply

    run(main)


def test_too_late(run):
    """After the deadline the work is cancelled; the error has the deployment and the timeout."""
    ended = []

    async def service(request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main():
        told = r"shop#model: no reply within (5|4\.9)"
        with pytest.raises(DeadlineExceededError, match=told) as caught:
            await deadline(HERE)(service)(call(5.0))
        assert isinstance(caught.value, TimeoutError)
        assert pickle.loads(pickle.dumps(caught.value)).deployment == "shop#model"

    run(main)
    assert ended == ["cancelled"]


def test_expired_before_it_came(run):
    """A call after its deadline fails at once."""

    async def service(request):
        await asyncio.Event().wait()

    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeadlineExceededError):
            await deadline(HERE)(service)(call(-1.0))
        assert loop.time() - began < 0.01

    run(main)


def test_a_timeout_of_the_users_own_is_not_ours(run):
    """A TimeoutError of the service passes unchanged."""

    async def service(request):
        raise TimeoutError("the user's")

    async def main():
        with pytest.raises(TimeoutError, match="the user's") as caught:
            await deadline(HERE)(service)(call(60.0))
        assert type(caught.value) is TimeoutError

    run(main)


def test_cancellation_is_not_swallowed(run):
    """A cancelled call cancels the work, without a deadline error."""

    async def service(request):
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(deadline(HERE)(service)(call(60.0)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


@pytest.mark.parametrize("left_s", [-0.001, 0.0])
def test_a_call_that_arrives_too_late_is_not_begun(left_s):
    """A replica refuses a call after its deadline, before user code runs."""
    begun = []
    service = drop_expired(HERE)(begun.append)
    with pytest.raises(DeadlineExceededError, match="shop#model"):
        service(call(left_s))
    assert begun == []


@pytest.mark.parametrize("left_s", [None, 60.0])
def test_a_call_in_time_is_begun(left_s):
    """A call without a deadline gets the service's own awaitable."""

    async def service(request):
        return Reply((b"",))

    awaited = drop_expired(HERE)(service)(call(left_s))
    assert awaited.cr_code is service.__code__
    awaited.close()
