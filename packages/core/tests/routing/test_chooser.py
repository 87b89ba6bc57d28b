"""A failing policy: its error names policy and plugin, and affects its own deployment only."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from alacarte import serve
from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._routing.builtin_policies import PowerOfTwo, RoundRobin
from alacarte._routing.chooser import Chooser, failed_policy
from alacarte.errors import PluginError
from alacarte.testing import wait_until
from alacarte.types import Call, PolicyContext, PolicyFactory, ReplicaLoad

from .support import HERE, POLICIES, Bench, settle

CALL = Call("python", (b"",))
WHO = "shop#model: routing policy 'odd' of plugin 'odd-policies'"


def test_core_policies_observe_nothing():
    """A router with such a policy makes no call per request besides `choose`."""
    for policy in (PowerOfTwo(), RoundRobin()):
        chooser = Chooser(policy, "name", "core", HERE, PluginFailures())
        assert (chooser.observes_calls, chooser.left) == (False, None)


class Odd(RoundRobin):
    """A policy that returns the choice of the test."""

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
    """Each call fails with the error, queued ones too; it is logged once, and nothing is left."""
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


def test_a_policy_that_cannot_be_made():
    """Each call gets an error of its own with the reason; the failure is recorded once."""
    failures = PluginFailures()
    chooser = failed_policy("odd", "odd-policies", HERE, failures, ValueError("no such file"))
    errors = []
    for _ in range(2):
        with pytest.raises(Exception) as got:  # noqa: PT011  a private one
            chooser.choose(CALL, [ReplicaLoad("a")])
        errors.append(chooser.choose_error(got.value))
    told = f"{WHO} could not be created: ValueError: no such file."
    assert [str(error) for error in errors] == [told, told]
    assert errors[0] is not errors[1]
    [failure] = failures.values()
    assert (failure.plugin, failure.hook) == ("odd-policies", "routing policy odd: create")
    assert (failure.subject, failure.count) == ("deployment 'shop#model'", 1)


@serve.deployment(name="Model")
class Model:
    def __call__(self) -> str:
        return "hello"


def test_a_policy_that_raises_reaches_no_other_deployment(local_with):
    """A policy that fails to be created or to choose fails the calls of its deployment only.

    Another application deploys and answers, and the status names the plugin.
    """

    def create(place: PolicyContext) -> Any:
        raise KeyError(place.deployment.name)

    class Raises(RoundRobin):
        def choose(self, call, replicas):
            raise SystemExit("a bug")

    def register() -> list[PolicyFactory]:
        return [
            PolicyFactory("unmade", create),
            PolicyFactory("raises", lambda place: Raises()),
        ]

    local = local_with(register_routing_policies=register)
    handles = {
        policy: local.run(Model.options(routing_policy=policy).bind(), name=policy)
        for policy in ("unmade", "raises", "power_of_two")
    }
    for policy, told in (
        ("unmade", "could not be created: KeyError: 'Model'"),
        ("raises", "raised SystemExit: a bug"),
    ):
        whose = f"{policy}#Model: routing policy '{policy}' of plugin 'observer' {told}"
        for _ in range(2):
            with pytest.raises(PluginError, match=whose):
                handles[policy].call()
    assert handles["power_of_two"].call() == "hello"

    def failures() -> set[str]:
        return {failure.hook for failure in local.status().plugin_failures}

    expected = {"routing policy unmade: create", "routing policy raises: choose"}
    wait_until(lambda: failures() >= expected, 10, "the status")


class Seen(RoundRobin):
    """A policy that records the contexts for which it is created."""

    places: ClassVar[list[PolicyContext]] = []

    def __init__(self, place: PolicyContext) -> None:
        super().__init__()
        self.places.append(place)


class Size(BaseModel, frozen=True, extra="forbid"):
    """Parameters."""

    size: int = 1


def test_a_policy_is_made_for_its_place(local_with):
    """With the deployment, the parameters, the configuration; again when the parameters change."""

    def register() -> list[PolicyFactory]:
        return [PolicyFactory("seen", Seen, f"{__name__}:Size")]

    Seen.places.clear()
    local = local_with(register_routing_policies=register)
    for policy in ("seen", {"name": "seen", "size": 7}):
        handle = local.run(Model.options(routing_policy=policy).bind(), name="a")
        assert handle.call() == "hello"
    assert [place.parameters.size for place in Seen.places] == [1, 7]
    place = Seen.places[0]
    assert str(place.deployment) == "a#Model"
    assert place.deployment.version
    assert place.config.section("cluster").transport
    assert place.clock() <= place.clock()
