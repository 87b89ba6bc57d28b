"""Copies for the shadows of a route: shares, ids, deadlines, outcomes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte.types import Call, DeploymentId, Message, Reply
from alacarte_endpoints._shadow_body import MAX_BYTES, ShadowBudget
from alacarte_endpoints._shadows import COPY_LIMIT_S, Shadow, Shadows

FIRST, SECOND = DeploymentId("s1", "S"), DeploymentId("s2", "S")


class Target:
    """A deployment that records its calls, and replies as the test sets."""

    def __init__(self, does: Any = None) -> None:
        self.got: list[Call] = []
        self._does = does

    async def __call__(self, call: Call) -> Reply:
        self.got.append(call)
        return Reply((b"ok",)) if self._does is None else await self._does(call)


def shadow(service: Target, share: float = 1.0, who: DeploymentId = FIRST) -> Shadow:
    return Shadow(who, share, service, ShadowBudget())


def fine(reply: Reply) -> bool:
    return False


def call(**options: Any) -> Call:
    return Call("p", (b"payload",), **options)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def counts(found: Shadow) -> tuple[int, int, int]:
    report = found.counter.report("", is_shadow=True)
    return report.requests, report.errors, report.dropped


def test_each_shadow_draws_for_itself(run):
    """The share of each shadow decides independently; a share of 1 draws no number."""

    async def main():
        target, one, two = Target(), Target(), Target()
        draws = deque([0.3, 0.2, 0.3])
        shadows = [shadow(one), shadow(two, 0.3, SECOND)]
        service = Shadows("app", shadows, draws.popleft).wrap(target, fine)
        for _ in range(3):
            await service(call())
        await settle()
        assert not draws
        assert [len(each.got) for each in (target, one, two)] == [3, 3, 1]
        assert [counts(each) for each in shadows] == [(3, 0, 0), (1, 0, 0)]

    run(main)


def test_a_copy_enters_the_application_of_its_shadow(run):
    """A copy of a call of the route's application gets the shadow's application."""

    async def main():
        one = Target()
        service = Shadows("app", [shadow(one)]).wrap(Target(), fine)
        await service(call(app="app"))
        await service(call(app="other"))
        await settle()
        assert [each.app for each in one.got] == ["s1", "other"]

    run(main)


def test_a_copy_has_no_more_time_than_its_original(run):
    """A copy has at most the original's remaining time, and at most a minute."""

    async def main():
        one = Target()
        service = Shadows("app", [shadow(one)]).wrap(Target(), fine)
        now = time.monotonic()
        await service(call(deadline=now + 5, timeout_s=5.0))
        await service(call(deadline=now + 10 * COPY_LIMIT_S, timeout_s=10 * COPY_LIMIT_S))
        await service(call())
        await settle()
        limits = [each.timeout_s or 0.0 for each in one.got]
        assert limits[0] == pytest.approx(5, abs=1)
        assert limits[1:] == [COPY_LIMIT_S, COPY_LIMIT_S]

    run(main)


def test_a_shadow_without_room_leaves_the_others_alone(run):
    """Copies beyond the budget of a shadow are dropped for this shadow only."""

    async def main():
        full, free = shadow(Target()), shadow(Target(), who=SECOND)
        full.budget.bytes = MAX_BYTES
        service = Shadows("app", [full, free]).wrap(Target(), fine)
        assert (await service(call())).payload == (b"ok",)
        await settle()
        assert (counts(full), counts(free)) == ((0, 0, 1), (1, 0, 0))
        assert (full.budget.bytes, free.budget.bytes) == (MAX_BYTES, 0)

    run(main)


def test_the_beginning_of_a_reply_is_its_outcome(run):
    """A reply that breaks off after its beginning is not an error, and is closed."""
    closed: list[str] = []

    async def breaks(call: Call) -> Reply:
        async def rest() -> AsyncIterator[Message]:
            try:
                yield (b"part",)
                raise ConnectionError
            finally:
                closed.append("rest")

        return Reply((b"",), rest())

    async def main():
        found = shadow(Target(breaks))
        await Shadows("app", [found]).wrap(Target(), fine)(call())
        await settle()
        assert (counts(found), closed) == ((1, 0, 0), ["rest"])

    run(main)


def test_a_reply_that_never_ends_is_closed(run):
    """After the copy's time limit, its reply is closed."""
    closed: list[str] = []

    class Rest:
        def __aiter__(self) -> Rest:
            return self

        async def __anext__(self) -> Message:
            await asyncio.sleep(1)
            return (b"part",)

        async def aclose(self) -> None:
            closed.append("rest")

    async def for_ever(call: Call) -> Reply:
        return Reply((b"",), Rest())

    async def main():
        found = shadow(Target(for_ever))
        await Shadows("app", [found]).wrap(Target(), fine)(call())
        await asyncio.sleep(COPY_LIMIT_S - 1)
        assert (counts(found), closed) == ((0, 0, 0), [])
        await asyncio.sleep(2)
        assert (counts(found), closed) == ((1, 0, 0), ["rest"])
        assert not found.budget.tasks

    run(main)


def test_replies_that_stand_for_errors(run):
    """Error replies count as errors for copies, too."""

    async def main():
        found = shadow(Target())
        await Shadows("app", [found]).wrap(Target(), lambda reply: True)(call())
        await settle()
        assert counts(found) == (1, 1, 0)

    run(main)


def test_a_copy_that_is_cancelled_before_its_first_step(run):
    """A cancelled copy counts as dropped, and frees its budget."""

    async def main():
        one = Target()
        found = shadow(one)
        await Shadows("app", [found]).wrap(Target(), fine)(call())
        assert found.budget.bytes == len(b"payload")
        found.budget.close()
        await settle()
        assert (one.got, counts(found)) == ([], (0, 0, 1))
        assert (found.budget.bytes, found.budget.tasks) == (0, set())

    run(main)


def test_a_body_is_read_on_while_the_reply_streams(run):
    """A copy gets all parts, even if the target replies before reading them."""

    async def body() -> AsyncIterator[Message]:
        for part in (b"one ", b"two"):
            yield (part,)

    async def echo(call: Call) -> Reply:
        assert call.body is not None
        return Reply((b"",), call.body)

    async def keep(call: Call) -> Reply:
        assert call.body is not None
        seen.extend([part[0] async for part in call.body])
        return Reply((b"",))

    seen: list[Any] = []

    async def main():
        found = shadow(Target(keep))
        reply = await Shadows("app", [found]).wrap(Target(echo), fine)(call(body=body()))
        assert reply.rest is not None
        await settle()
        assert seen == []
        assert [part[0] async for part in reply.rest] == [b"one ", b"two"]
        await settle()
        assert (seen, counts(found)) == ([b"one ", b"two"], (1, 0, 0))

    run(main)
