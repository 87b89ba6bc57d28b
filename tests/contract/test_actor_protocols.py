"""The protocols between processes: kept by the actors, and used for every call."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from alacarte import actors
from alacarte._control.controller import Controller
from alacarte._control.controller_actor import ControllerActor
from alacarte._control.node_service_actor import NodeServiceActor
from alacarte._replica.replica_actor import ReplicaActor
from alacarte_autoscaling._policy_process import PolicyProcess
from alacarte_autoscaling._policy_protocol import PolicyProtocol

PACKAGES = Path(__file__).parents[2] / "packages"
STUBS = PACKAGES / "core/src/alacarte/_cluster/stubs.py"
CONFORMANCE = (
    PACKAGES / "core/src/alacarte/testing/_cluster_conformance.py"
)  # of `Actor.call` itself
PAIRS = [
    (actors.ControllerProtocol, ControllerActor),
    (actors.ReplicaProtocol, ReplicaActor),
    (actors.NodeServiceProtocol, NodeServiceActor),
    (PolicyProtocol, PolicyProcess),
]
LAUNCHED: dict[type, type] = {ControllerActor: Controller}
"""The class of the object that answers for a `Launcher`."""
NO_ACTORS = {
    "self.call",
    "hooks.call",
    "plugins.call",
    "router.call",
    "running.call",
    "request.call",
    "self.request.call",
    "handshake.call",
    "self._handle.call",
}
"""Hooks of plugins, a router, the `Call` of a request or handshake, and Ray's actor handle."""
OF_THE_HOST = {"abort", "launch"}
"""Called by the host of an actor, in its own process."""


def methods(of: type) -> dict[str, Any]:
    found = inspect.getmembers(of, inspect.isfunction)
    if of in LAUNCHED:
        found += inspect.getmembers(LAUNCHED[of], inspect.isfunction)
    return {name: function for name, function in found if not name.startswith("_")}


def shape(function: Any) -> tuple[Any, ...]:
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return (
        [(each.name, each.kind, each.default, hints.get(each.name)) for each in parameters],
        hints["return"],
    )


@pytest.mark.parametrize(("protocol", "actor"), PAIRS, ids=lambda each: each.__name__)
def test_actors_keep_their_protocols(protocol: type, actor: type):
    """Each has the methods of its protocol, with the same signatures, and no others."""
    asked = methods(protocol)
    answered = methods(actor)
    assert asked
    assert answered.keys() - OF_THE_HOST == asked.keys()
    for name, method in asked.items():
        assert shape(answered[name]) == shape(method), name


@pytest.mark.parametrize(("protocol", "actor"), PAIRS, ids=lambda each: each.__name__)
def test_blocked_actors_answer_as_declared(protocol: type, actor: type):
    """A method that declares that it needs no event loop is a plain function in the actor."""
    answered = methods(actor)
    for name, method in methods(protocol).items():
        terms = actors.terms_of(method)
        assert terms is not None
        assert inspect.iscoroutinefunction(answered[name]) == terms.needs_loop, name


@pytest.mark.parametrize(("protocol", "actor"), PAIRS, ids=lambda each: each.__name__)
def test_every_argument_is_described(protocol: type, actor: type):
    """Each method says what it does and describes its arguments; of a time, the unit."""
    for name, method in methods(protocol).items():
        text = inspect.getdoc(method) or ""
        assert text, name
        for argument in list(inspect.signature(method).parameters)[1:]:
            assert f"\n    {argument}: " in text, (name, argument)
            if argument.endswith("_s"):
                assert f"\n    {argument}: Seconds" in text, (name, argument)


def test_every_method_of_the_controller_names_its_callers():
    """Drivers, or every process that calls deployments."""
    for name, method in methods(actors.ControllerProtocol).items():
        assert "Called " in (inspect.getdoc(method) or ""), name


def test_the_page_shows_everything():
    """Whatever `alacarte.actors` exports has its place in the reference."""
    page = (PACKAGES.parent / "docs/reference/actors.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\. auto\w+:: alacarte\.actors\.(?:\w+\.)?(\w+)", page, re.M))
    assert shown == set(actors.__all__)


def calls_by_name(source: str) -> list[str]:
    """Return each use of an attribute `call` in a module's source, but for objects that are none
    of a cluster's actors."""
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr == "call"
        and ast.unparse(node) not in NO_ACTORS
    ]


def test_only_stubs_call_actors_by_name():
    """Only the stubs name an actor's method, by a literal or not; mypy checks all other calls."""
    assert calls_by_name("actor.call('probe_liveness')\nf(self._actor.call)\nrouter.call(c)") == [
        "1: actor.call",
        "2: self._actor.call",
    ]
    assert "actor.call" in calls_by_name(STUBS.read_text(encoding="utf-8"))[0]
    found = {
        str(path.relative_to(PACKAGES)): calls
        for path in PACKAGES.glob("*/src/**/*.py")
        if path not in (STUBS, CONFORMANCE)
        and (calls := calls_by_name(path.read_text(encoding="utf-8")))
    }
    assert found == {}
