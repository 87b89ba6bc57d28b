"""A policy that fails: whose failure it is, and how far it reaches."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from alacarte._routing.chooser import Chooser, failed_policy
from alacarte._routing.policies import PowerOfTwo, RoundRobin
from alacarte.errors import PluginError
from alacarte.types import Call, ReplicaLoad

from .test_router import HERE, POLICIES, Bench, settle

CALL = Call("python", (b"",))
WHO = "shop#model: routing policy 'odd' of plugin 'odd-policies'"


def test_core_policies_are_told_nothing():
    """A router with such a policy makes no call per request besides `choose`."""
    for policy in (PowerOfTwo(), RoundRobin()):
        chooser = Chooser(policy, "name", "core", HERE)
        assert (chooser.listens, chooser.left) == (False, None)


class Odd(RoundRobin):
    """Returns what the test says."""

    choice: Any = None

    def choose(self, call, replicas):
        return self.choice


NONSENSE = {
    "returned None; one of the replicas shown": None,
    "returned 17; one of the replicas shown": 17,
    "returned 'a'; one of the replicas shown": "a",
    "returned <replica mine .*; one of the replicas shown": ReplicaLoad("mine"),
}


@pytest.mark.parametrize("told", NONSENSE)
def test_nonsense_is_an_error_that_names_the_policy(run, monkeypatch, caplog, told):
    """Each call fails with it, in the queue too; the log has it once; nothing stays behind."""
    monkeypatch.setattr(Odd, "choice", NONSENSE[told])

    async def main():
        monkeypatch.setitem(POLICIES, "odd", Odd)
        b = Bench()
        await b.call("1")
        await b.update("a", policy="odd")
        await b.call("2")
        for name in "12":
            with pytest.raises(PluginError, match=f"routing policy 'odd' of plugin 'test' {told}"):
                await b.calls[name]
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        b.check_clean()
        await b.router.close()

    run(main)


def test_a_replica_that_is_gone_is_nonsense(run, monkeypatch):
    """A policy that has kept a replica gets an error, and a dead connection no call."""

    class Keeps(RoundRobin):
        kept: Any = None

        def choose(self, call, replicas):
            self.kept = self.kept or replicas[0]
            return self.kept

    async def main():
        monkeypatch.setitem(POLICIES, "keeps", Keeps)
        b = Bench()
        await b.update("a", "b", policy="keeps")
        await b.call("1")
        await b.answer("1")
        b.far.down = {"a": ConnectionRefusedError()}
        b.far.connections["a"].break_off()
        await settle()
        await b.call("2")
        with pytest.raises(PluginError, match="'keeps' .* returned <replica a 0/1>; one of"):
            await b.calls["2"]
        b.check_clean()
        await b.router.close()
        await settle()

    run(main)


def test_a_policy_that_cannot_be_made(caplog):
    """Each call has an error of its own, which says why; the log has it once."""
    caplog.set_level(logging.ERROR)
    chooser = failed_policy("odd", "odd-policies", HERE, ValueError("no such file"))
    errors = []
    for _ in range(2):
        with pytest.raises(PluginError, match="could not be made: ValueError: no such file") as got:
            chooser.choose(CALL, [ReplicaLoad("a")])
        errors.append(chooser.failure(got.value))
    assert str(errors[0]).startswith(WHO)
    assert errors[0] is not errors[1]
    assert len(caplog.records) == 1
