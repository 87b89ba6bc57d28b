"""A routing policy in use: its events, its failures, and a change of the policy."""

from __future__ import annotations

import asyncio
import re

import pytest

from alacarte._routing.builtin_policies import RoundRobin
from alacarte.errors import (
    PluginError,
)

from .support import POLICIES, Bench, settle


class RecordingPolicy(RoundRobin):
    """A policy that records its events, which must come in pairs for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def started(self, call, replica):
        self.heard.append(f"started {bytes(call.payload[0]).decode()}@{replica.replica_id}")

    def finished(self, call, replica, outcome):
        self.heard.append(f"{outcome.kind} {bytes(call.payload[0]).decode()}@{replica.replica_id}")

    def left(self, replica):
        self.heard.append(f"left {replica.replica_id}")


def test_a_policy_gets_the_outcome_of_each_call(run, monkeypatch):
    """Started, then exactly once finished, with the outcome; and of a replica that is gone."""

    async def main():
        monkeypatch.setitem(POLICIES, "told", lambda: policy)
        policy = RecordingPolicy()
        b = Bench()
        await b.update("a", "b", room=2, policy="told")
        b.far.full = {"a"}
        await b.call("1")
        await b.answer("1")
        await b.call("2")
        b.far.connections["b"].break_off()
        await settle()
        assert policy.heard == [
            "started 1@a", "rejected 1@a", "started 1@b", "success 1@b",
            "started 2@b", "lost 2@b",
        ]  # fmt: skip
        await b.update("a", policy="told")
        assert policy.heard[-1] == "left b"
        await b.router.close()
        await asyncio.gather(*b.calls.values(), return_exceptions=True)

    run(main)


def test_a_change_of_policy_keeps_each_call_with_its_own(run, monkeypatch):
    """The policy that has chosen gets the end of its call; a new policy gets its own calls only."""

    async def main():
        before, after = RecordingPolicy(), RecordingPolicy()
        monkeypatch.setitem(POLICIES, "before", lambda: before)
        monkeypatch.setitem(POLICIES, "after", lambda: after)
        b = Bench()
        await b.update("a", room=5, policy="before")
        await b.call("1")
        await b.update("a", room=5, policy="after")
        await b.call("2")
        await b.answer("1", "2")
        assert before.heard == ["started 1@a", "success 1@a"]
        assert after.heard == ["started 2@a", "success 2@a"]
        await b.router.close()

    run(main)


@pytest.mark.parametrize("broken", ["started", "finished"])
def test_a_policy_that_raises_costs_no_slot(run, monkeypatch, caplog, broken):
    """A policy's observing methods may raise: the log has a line, calls and counters go on."""

    class Broken(RoundRobin):
        pass

    def fail(self, *what):
        raise RuntimeError("a bug of the policy")

    setattr(Broken, broken, fail)

    async def main():
        monkeypatch.setitem(POLICIES, "broken", Broken)
        b = Bench()
        await b.update("a", policy="broken")
        await b.call("1", "2")
        await b.answer("1")
        await b.answer("2")
        assert [await b.result("1"), await b.result("2")] == ["1", "2"]
        [record] = caplog.records
        told = f"plugin test failed in routing policy broken: {broken} for deployment 'shop#model'"
        assert re.match(told, record.message)
        b.check_clean()
        await b.router.close()

    run(main)


def test_a_policy_that_cannot_choose_answers_the_call(run, monkeypatch):
    """The policy's error is raised to the caller, in the queue too; nothing is left."""

    class Broken(RoundRobin):
        def choose(self, call, replicas):
            raise RuntimeError("a bug of the policy")

    async def main():
        monkeypatch.setitem(POLICIES, "broken", Broken)
        b = Bench()
        await b.call("1")
        await b.update("a", policy="broken")
        await b.call("2")
        for name in "12":
            told = "shop#model: routing policy 'broken' of plugin 'test' raised RuntimeError: a bug"
            with pytest.raises(PluginError, match=told):
                await b.calls[name]
        b.check_clean()
        await b.router.close()

    run(main)
