"""A route with several targets: who is called, what is counted, and what shadows may not do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte._model.tallies import split_key
from alacarte._routing.copies import MOST_BYTES, MOST_COPIES, Room
from alacarte._routing.split import COPY_LIMIT_S, Split
from alacarte.actors import TallyReport
from alacarte.errors import DeploymentUnavailableError, InvalidRequestError
from alacarte.types import Call, DeploymentId, Message, Reply, Route

A, B, SHADOW = DeploymentId("a", "A"), DeploymentId("b", "B"), DeploymentId("s", "S")


class Far:
    """All deployments: each answers with its name, or does what it was told to."""

    def __init__(self) -> None:
        self.got: dict[DeploymentId, list[Call]] = {A: [], B: [], SHADOW: []}
        self.does: dict[DeploymentId, Any] = {}
        self.successor: Any = None

    def service(self, deployment: DeploymentId) -> Any:
        async def call(call: Call) -> Reply:
            self.got[deployment].append(call)
            if deployment in self.does:
                found = await self.does[deployment](call)
                if found is not None:
                    return found
            return Reply((deployment.app.encode(),))

        return call


@pytest.fixture
def far() -> Far:
    return Far()


def split(far: Far, draws: tuple[float, ...] = (), **options: Any) -> Split:
    route = Route("/r", "r", **{"targets": {A: 0.75, B: 0.25}, "name": "r", **options})
    rest = deque(draws)
    rooms: dict[DeploymentId, Room] = {}

    async def successor(split: Split, target: DeploymentId, failed: Any) -> Any:
        return far.successor

    return Split(
        route,
        far.service,
        lambda shadow: rooms.setdefault(shadow, Room()),
        successor,
        lambda: rest.popleft() if rest else 0.0,
    )


def call(**options: Any) -> Call:
    return Call("p", (b"payload",), **options)


def fine(reply: Reply) -> bool:
    return False


def told(found: Split) -> dict[tuple[str, bool], TallyReport]:
    return {(each.target, each.shadow): each for each in found.report().tallies}


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_each_call_takes_a_target(run, far):
    """The draw decides, and the answer is that target's, whose application the call is now in."""

    async def main():
        route = split(far, (0.0, 0.74, 0.76, 0.99))
        calls = [call(app="r"), call(app="other"), call(app="r"), call()]
        answers = [(await route.call(each, fine)).payload[0] for each in calls]
        assert answers == [b"a", b"a", b"b", b"b"]
        # One that entered through somebody else's route stays in that application.
        assert [each.app for each in calls] == ["a", "other", "b", ""]

    run(main)


def test_a_key_sticks(run, far):
    """Without a draw."""

    async def main():
        route = split(far)
        route._draw = None  # type: ignore[assignment]
        for key in "abcdefgh":
            replies = [await route.call(call(routing_key=key), fine) for _ in range(3)]
            assert len({reply.payload[0] for reply in replies}) == 1
        assert far.got[A]
        assert far.got[B]

    run(main)


def test_what_is_counted(run, far):
    """Answers, errors that are raised, errors that a reply stands for; not what was given up."""

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
        assert route.report().key == split_key(route.route)

    run(main)


def test_a_shadow_gets_copies(run, far):
    """The same payload and method, under another id; its share of them; after the original."""

    async def main():
        # A draw for the target, then one for the copy.
        route = split(far, (0.0, 0.49, 0.0, 0.51), shadows={SHADOW: 0.5})
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
    """Whether it raises, hangs or answers nonsense, the caller gets its answer at once."""

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
    """Beyond the bound they are dropped and counted, until some have ended."""
    gate = asyncio.Event()

    async def hang(call: Call) -> None:
        await gate.wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        for _ in range(MOST_COPIES + 7):
            await route.call(call(), fine)
        await settle()
        assert len(far.got[SHADOW]) == MOST_COPIES
        assert told(route)[str(SHADOW), True].dropped == 7
        gate.set()
        await settle()
        await route.call(call(), fine)
        await settle()
        assert told(route)[str(SHADOW), True].requests == MOST_COPIES + 1

    run(main)


def test_copies_are_bounded_in_size(run, far):
    """Large requests count for their bytes, until they are answered."""
    gate = asyncio.Event()

    async def hang(call: Call) -> None:
        await gate.wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        payload = (bytes(MOST_BYTES // 3),)
        for _ in range(5):
            await route.call(Call("p", payload), fine)
        await settle()
        assert len(far.got[SHADOW]) == 3
        assert told(route)[str(SHADOW), True].dropped == 2
        gate.set()
        await settle()

    run(main)


def test_buffers_may_be_used_again(run, far):
    """A copy holds what was sent, whatever its owner does with the buffer afterwards."""

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
    """Both get all of it, part by part."""

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
    """The original's body never waits for it; the copy is dropped when too much lies there."""

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        far.does = {A: read, SHADOW: hang}
        route = split(far, shadows={SHADOW: 1.0})
        part = bytes(MOST_BYTES // 4)
        reply = await route.call(call(body=parts(*[part] * 6)), fine)
        assert len(reply.payload[0]) == 6 * len(part)
        [shadow] = route._shadows
        assert shadow.room.bytes <= MOST_BYTES
        await asyncio.sleep(COPY_LIMIT_S + 1)
        assert (shadow.room.bytes, shadow.room.tasks) == (0, set())

    run(main)


def test_an_upload_that_breaks_off(run, far):
    """The copy ends with it, and is no error of the shadow's."""

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
    """The copy of a body that nobody will read is given up with it."""

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
    """What goes back and forth belongs to one side only."""

    async def main():
        route = split(far, shadows={SHADOW: 1.0})
        await route.call(call(alone=True), fine)
        await settle()
        assert not far.got[SHADOW]

    run(main)


def test_a_shadow_s_stream_is_read_to_its_end(run, far):
    """So it does the work that it would do for a caller."""
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
    """It goes where the route leads by now: nothing has become of it, and it is copied once."""

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
        assert (request.app, request.alone) == ("r2", True)
        await settle()
        assert len(far.got[SHADOW]) == 2
        assert told(route)[str(A), False].requests == 1

    run(main)


def test_a_call_whose_own_call_met_nobody(run, far):
    """It has run, so it is not sent again, whatever has become of the route."""

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
    """Whether the successor reads it, refuses it or fails, no copy waits for the rest."""

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
            assert not route._shadows[0].room.tasks

    run(main)


def test_what_the_client_did_wrong(run, far):
    """A request that makes no sense is not its target's fault."""

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
    """Nothing is left running."""

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async def main():
        far.does[SHADOW] = hang
        route = split(far, shadows={SHADOW: 1.0})
        await route.call(call(), fine)
        await settle()
        route._shadows[0].room.close()
        await settle()

    run(main)
