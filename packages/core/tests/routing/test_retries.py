"""Calls that may run more than once: sent again within bounds. Others are not."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.retries import MAX_REPEATS, TOKENS_PER_CALL, TOKENS_PER_S, RetryBudget
from alacarte.errors import ReplicaUnavailableError
from alacarte.testing import FakeClock
from alacarte.types import Call

from .support import settle


@given(
    st.lists(st.one_of(st.just("call"), st.just("repeat"), st.floats(0, 30)), max_size=300),
)
def test_the_budget_holds_over_any_time(events):
    """A fifth of the calls, and ten a second besides; the first ten are free."""
    clock = FakeClock()
    budget = RetryBudget(clock)
    calls = repeats = 0
    began = clock.now
    for event in events:
        if event == "call":
            budget.deposit()
            calls += 1
        elif event == "repeat":
            repeats += budget.take()
        else:
            clock.advance(event)
        assert (
            repeats
            <= TOKENS_PER_CALL * calls + TOKENS_PER_S * (clock.now - began) + TOKENS_PER_S + 1e-6
        )


def test_unused_tokens_are_bounded():
    """After a quiet day a burst may retry a hundred calls and no more."""
    clock = FakeClock()
    budget = RetryBudget(clock)
    clock.advance(86_400)
    assert sum(budget.take() for _ in range(10_000)) == 100


def test_a_lost_replica_costs_an_idempotent_call_nothing(bench):
    """Another replica answers the call, before the calls that wait."""

    async def main(b):
        await b.update("a", "b")
        b.calls["1"] = asyncio.create_task(b.router.call(Call("p", (b"1",), idempotent=True)))
        await settle()
        await b.call("2", "3")
        b.far.down["a"] = OSError("gone")
        b.far.connections["a"].break_off()
        await settle()
        await b.answer("2")
        assert b.far.names() == ["1@a", "2@b", "1@b"]
        await b.answer("1")
        assert await b.result("1") == "1"
        await b.answer("3")
        b.check_clean()

    bench(main)


def test_a_call_that_kills_its_replica_kills_two(bench):
    """The caller then gets an error; a call that is not idempotent kills one replica."""

    async def main(b):
        names = [f"r{n}" for n in range(8)]
        await b.update(*names)
        for name, idempotent in (("poison", True), ("once", False)):
            call = Call("p", (name.encode(),), idempotent=idempotent)
            b.calls[name] = asyncio.create_task(b.router.call(call))
            await settle()
            while b.far.open:
                killed = b.far.open[0].connection
                b.far.down[killed.replica_id] = OSError("gone")
                killed.break_off()
                await settle()
        assert len(b.far.down) == MAX_REPEATS + 1 + 1
        with pytest.raises(
            ReplicaUnavailableError, match=r"The request was sent 2 times, and may have run"
        ):
            await b.calls["poison"]
        with pytest.raises(ReplicaUnavailableError, match="may have run, and was not retried"):
            await b.calls["once"]

    bench(main)


def test_a_body_that_was_used_up_is_not_sent_again(bench):
    """A body of which a part was read cannot be sent again."""

    async def main(b):
        await b.update("a", "b")
        b.calls["1"] = asyncio.create_task(b.router.call(Call("p", (b"1",), idempotent=True)))
        await settle()
        b.far.sent[0].is_repeatable = False
        b.far.connections["a"].break_off()
        await settle()
        assert len(b.far.sent) == 1
        with pytest.raises(ReplicaUnavailableError):
            await b.calls["1"]

    bench(main)


def test_many_lost_calls_are_not_all_sent_again(bench):
    """With hundreds in flight on a replica that dies, most fail rather than bury the others."""

    async def main(b):
        await b.update("a", "b", room=1000, policy="round_robin")
        for n in range(1000):
            b.calls[f"{n}"] = asyncio.create_task(
                b.router.call(Call("p", (b"%d" % n,), idempotent=True))
            )
        await settle()
        assert len(b.far.connections["a"].streams) == 500
        b.far.down["a"] = OSError("gone")
        b.far.connections["a"].break_off()
        await settle()
        assert len(b.far.sent) - 1000 == 100

    bench(main)
