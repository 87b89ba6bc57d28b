"""The layer of a route: counts of its targets, and copies for its shadows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte._routing.split import Split
from alacarte.errors import DeploymentUnavailableError, InvalidRequestError
from alacarte.types import Call, DeploymentId, Message, Reply, Route
from alacarte_endpoints._call_counter import TargetReport
from alacarte_endpoints._route_layer import CountedRoute
from alacarte_endpoints._shadow_body import MAX_BYTES, MAX_COPIES, ShadowBudget
from alacarte_endpoints._shadows import COPY_LIMIT_S

A, B, SHADOW = DeploymentId("a", "A"), DeploymentId("b", "B"), DeploymentId("s", "S")


class Far:
    """Deployments that reply with their names, or as the test sets."""

    def __init__(self) -> None:
        self.got: dict[DeploymentId, list[Call]] = {A: [], B: [], SHADOW: []}
        self.does: dict[DeploymentId, Any] = {}
        self.successor: Any = None

    def service(self, deployment: DeploymentId) -> Any:
        async def serve(call: Call) -> Reply:
            self.got[deployment].append(call)
            if deployment in self.does:
                found = await self.does[deployment](call)
                if found is not None:
                    return found
            return Reply((deployment.app.encode(),))

        return serve


@pytest.fixture
def far() -> Far:
    return Far()


class Path:
    """A version of a route with its layer."""

    def __init__(self, far: Far, draws: tuple[float, ...], route: Route) -> None:
        rest = deque(draws)
        self.route = route
        self.budgets: dict[DeploymentId, ShadowBudget] = {}
        self.layer = CountedRoute(
            route,
            far.service,
            lambda shadow: self.budgets.setdefault(shadow, ShadowBudget()),
            lambda layer, replaced: None,
            lambda: rest.popleft() if rest else 0.0,
        )

        async def successor(split: Split, target: DeploymentId, failed: Any) -> Any:
            return far.successor

        self.split = Split(route, far.service, [self.layer], successor, lambda: 0.0)

    async def call(self, call: Call, failed: Any) -> Reply:
        return await self.split.service(failed)(call)

    def report(self) -> Any:
        return self.layer.report()


def split(far: Far, draws: tuple[float, ...] = (), **options: Any) -> Path:
    return Path(
        far, draws, Route("/r", "r", **{"targets": {A: 0.75, B: 0.25}, "name": "r", **options})
    )


def call(**options: Any) -> Call:
    return Call("p", (b"payload",), **options)


def fine(reply: Reply) -> bool:
    return False


def told(found: Path) -> dict[tuple[str, bool], TargetReport]:
    return {(each.target, each.is_shadow): each for each in found.report().targets}


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_is_counted(run, far):
    """Replies, exceptions and error replies are counted; cancelled calls are not."""

    async def fail(call: Call) -> None:
        raise ValueError("no")

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        route = split(far, targets={A: 1.0})
        await route.call(call(), fine)
        await route.call(call(), lambda reply: reply.payload[0] == b"a")
        far.does[A] = fail
        with pytest.raises(ValueError, match="no"):
            await route.call(call(), fine)
        far.does[A] = hang
        task = asyncio.create_task(route.call(call(), fine))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        report = told(route)[str(A), False]
        assert (report.requests, report.errors, sum(report.buckets)) == (3, 2, 3)
        assert route.report().fingerprint == route.route.fingerprint

    run(main)


def test_a_shadow_gets_copies(run, far):
    """A share of calls is copied after the original, with another id."""

    async def main():
        route = split(far, (0.49, 0.51), shadows={SHADOW: 0.5})
        original = call(method="m", request_id="id", app="r", routing_key="", idempotent=True)
        original.routing_key = ""
        await route.call(original, fine)
        assert not far.got[SHADOW]  # sent after, not before
        await settle()
        await route.call(call(), fine)
        await settle()
        [copy] = far.got[SHADOW]
        assert (copy.payload, copy.method, copy.request_id) == ((b"payload",), "m", "id-shadow")
        assert (copy.app, copy.idempotent) == ("s", False)
        report = told(route)[str(SHADOW), True]
        assert (report.requests, report.errors, report.dropped) == (1, 0, 0)

    run(main)


def test_a_shadow_changes_nothing(run, far):
    """A shadow that raises, hangs or replies nonsense does not affect the caller."""

    async def fail(call: Call) -> None:
        raise ValueError("no")

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        loop = asyncio.get_running_loop()
        for does in (fail, hang):
            far.does[SHADOW] = does
            route = split(far, shadows={SHADOW: 1.0})
            began = loop.time()
            assert (await route.call(call(), fine)).payload == (b"a",)
            assert loop.time() == began
            await asyncio.sleep(COPY_LIMIT_S + 1)
            report = told(route)[str(SHADOW), True]
            assert (report.requests, report.errors) == (1, 1)
            assert told(route)[str(A), False].errors == 0

    run(main)


def test_copies_are_bounded_in_number(run, far):
    """Copies beyond the limit are dropped and counted."""
    gate = asyncio.Event()

    async def hang(call: Call) -> None:
        await gate.wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        for _ in range(MAX_COPIES + 7):
            await route.call(call(), fine)
        await settle()
        assert len(far.got[SHADOW]) == MAX_COPIES
        assert told(route)[str(SHADOW), True].dropped == 7
        gate.set()
        await settle()
        await route.call(call(), fine)
        await settle()
        assert told(route)[str(SHADOW), True].requests == MAX_COPIES + 1

    run(main)


def test_copies_are_bounded_in_size(run, far):
    """Copies beyond the limit of bytes are dropped, until earlier copies have ended."""
    gate = asyncio.Event()

    async def hang(call: Call) -> None:
        await gate.wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        payload = (bytes(MAX_BYTES // 3),)
        for _ in range(5):
            await route.call(Call("p", payload), fine)
        await settle()
        assert len(far.got[SHADOW]) == 3
        assert told(route)[str(SHADOW), True].dropped == 2
        gate.set()
        await settle()

    run(main)


def test_buffers_may_be_used_again(run, far):
    """A copy has the sent bytes, even if their buffer changes afterwards."""

    async def main():
        route = split(far, shadows={SHADOW: 1.0})
        buffer = bytearray(b"before")
        await route.call(Call("p", (memoryview(buffer),)), fine)
        buffer[:] = b"after!"
        await settle()
        assert far.got[SHADOW][0].payload == (b"before",)

    run(main)


async def parts(*values: bytes) -> AsyncIterator[Message]:
    for value in values:
        yield (value,)


async def read(call: Call) -> Reply:
    assert call.body is not None
    return Reply((b"".join([message[0] async for message in call.body]),))


def test_a_body_is_copied_as_it_passes(run, far):
    """Original and copy both get the whole body, part by part."""

    async def keep(call: Call) -> Reply:
        reply = await read(call)
        seen.append(bytes(reply.payload[0]))
        return reply

    seen: list[bytes] = []

    async def main():
        far.does = {A: read, SHADOW: keep}
        route = split(far, shadows={SHADOW: 1.0})
        reply = await route.call(call(body=parts(b"one ", b"two ", b"three")), fine)
        assert reply.payload == (b"one two three",)
        await settle()
        assert seen == [b"one two three"]

    run(main)


def test_a_shadow_that_does_not_read(run, far):
    """A slow copy never delays the original, and is dropped when its body exceeds the budget."""

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        far.does = {A: read, SHADOW: hang}
        route = split(far, shadows={SHADOW: 1.0})
        part = bytes(MAX_BYTES // 4)
        reply = await route.call(call(body=parts(*[part] * 6)), fine)
        assert len(reply.payload[0]) == 6 * len(part)
        [budget] = route.budgets.values()
        assert budget.bytes <= MAX_BYTES
        await asyncio.sleep(COPY_LIMIT_S + 1)
        assert (budget.bytes, budget.tasks) == (0, set())

    run(main)


def test_an_upload_that_breaks_off(run, far):
    """When the original's body breaks off, the copy ends without an error of the shadow."""

    async def broken() -> AsyncIterator[Message]:
        yield (b"one",)
        raise ConnectionError

    async def main():
        far.does = {A: read, SHADOW: read}
        route = split(far, shadows={SHADOW: 1.0})
        with pytest.raises(ConnectionError):
            await route.call(call(body=broken()), fine)
        await settle()
        report = told(route)[str(SHADOW), True]
        assert (report.requests, report.errors, report.dropped) == (0, 0, 1)

    run(main)


def test_a_target_that_refuses_before_it_reads(run, far):
    """A copy is dropped when its body will not be read to the end."""

    async def refuse(call: Call) -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    async def main():
        far.does = {A: refuse, SHADOW: read}
        route = split(far, shadows={SHADOW: 1.0})
        with pytest.raises(ValueError, match="no"):
            await route.call(call(body=parts(b"one")), fine)
        await settle()
        assert told(route)[str(SHADOW), True].dropped == 1

    run(main)


def test_a_conversation_is_not_copied(run, far):
    """Calls with `no_shadow` are not copied."""

    async def main():
        route = split(far, shadows={SHADOW: 1.0})
        await route.call(call(no_shadow=True), fine)
        await settle()
        assert not far.got[SHADOW]

    run(main)


def test_a_shadow_s_stream_is_read_to_its_end(run, far):
    """The reply of a copy is read to its end, so the shadow does the whole work."""
    read_to: list[int] = []

    async def stream(call: Call) -> Reply:
        async def rest() -> AsyncIterator[Message]:
            for n in range(3):
                read_to.append(n)
                yield (b"x",)

        return Reply((b"",), rest())

    async def main():
        far.does[SHADOW] = stream
        route = split(far, shadows={SHADOW: 1.0})
        await route.call(call(), fine)
        await settle()
        assert read_to == [0, 1, 2]

    run(main)


def test_a_call_of_a_target_that_is_gone(run, far):
    """A call whose target is gone goes to the new route, and is copied once."""

    async def gone(call: Call) -> None:
        raise DeploymentUnavailableError("a#A", "it was deleted")

    async def main():
        far.does[A] = gone
        route = split(far, shadows={SHADOW: 1.0})
        with pytest.raises(DeploymentUnavailableError):
            await route.call(call(), fine)
        assert told(route)[str(A), False].errors == 1
        far.successor = Route("/r", "r2", {B: 1.0}), far.service(B)
        request = call(app="r")
        assert (await route.call(request, fine)).payload == (b"b",)
        assert (request.app, request.no_shadow) == ("r2", True)
        await settle()
        assert len(far.got[SHADOW]) == 2
        # The second is counted in a version that is replaced, so it is never reported.
        assert told(route)[str(A), False].requests == 2

    run(main)


def test_a_call_whose_own_call_met_nobody(run, far):
    """A call that has run is not sent again, even if the route changes."""

    async def inner(call: Call) -> None:
        raise DeploymentUnavailableError("other#X", "it was deleted")

    async def main():
        far.does[A] = inner
        far.successor = Route("/r", "r2", {B: 1.0}), far.service(B)
        route = split(far)
        with pytest.raises(DeploymentUnavailableError, match="other#X"):
            await route.call(call(), fine)
        assert not far.got[B]
        assert told(route)[str(A), False].errors == 1

    run(main)


def test_copies_of_a_body_that_went_elsewhere(run, far):
    """Copies do not wait for a body that the successor reads, refuses or fails on."""

    async def gone(call: Call) -> None:
        raise DeploymentUnavailableError("a#A", "it was deleted")

    async def fail(call: Call) -> None:
        raise ValueError("no")

    async def main():
        far.does = {A: gone, SHADOW: read}
        far.successor = Route("/r", "r", {B: 1.0}), far.service(B)
        for does, dropped in ((read, 0), (None, 1), (fail, 1)):
            far.does[B] = does or (lambda call: asyncio.sleep(0))
            route = split(far, shadows={SHADOW: 1.0})
            work = route.call(call(body=parts(b"one", b"two")), fine)
            if does is fail:
                with pytest.raises(ValueError, match="no"):
                    await work
            else:
                await work
            await settle()
            report = told(route)[str(SHADOW), True]
            assert (report.dropped, report.errors) == (dropped, 0)
            assert not route.budgets[SHADOW].tasks

    run(main)


def test_what_the_client_did_wrong(run, far):
    """An invalid request is not an error of its target."""

    async def refuse(call: Call) -> None:
        raise InvalidRequestError("a#A", "no")

    async def main():
        far.does = {A: refuse, SHADOW: refuse}
        route = split(far, shadows={SHADOW: 1.0})
        with pytest.raises(InvalidRequestError):
            await route.call(call(), fine)
        await settle()
        assert {(each.requests, each.errors) for each in told(route).values()} == {(1, 0), (0, 0)}

    run(main)


def test_copies_end_with_the_process(run, far):
    """Closing the layer ends all copies."""

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        await route.call(call(), fine)
        await settle()
        route.budgets[SHADOW].close()
        await settle()

    run(main)
