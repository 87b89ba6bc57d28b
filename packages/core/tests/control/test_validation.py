"""Validation of resources that exist together, and compare-and-set."""

from __future__ import annotations

import pytest

from alacarte import _plugins
from alacarte._control.validation import check_expected, check_plan, check_shadows
from alacarte._model.kinds import ApplicationKind
from alacarte._model.plan import Plan
from alacarte.errors import ConfigError, ConflictError, PluginError
from alacarte.types import DeploymentId, Resource, Route

from ..plan_support import KINDS, ROADS, application, planned, road, stored


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            [application("old", "x", prefix="/a"), application("new", "x", prefix="/a")],
            "new: route prefix /a is used by application old; choose another, or delete",
        ),
        (
            [application("a", "x", prefix="/a"), road("/a", {DeploymentId("a", "x"): 1.0})],
            "/a: route prefix /a is used by application a",
        ),
        (
            [
                application("a", "x"),
                road("/s", {DeploymentId("a", "x"): 1.0}, name="n"),
                Resource("road", "m", Route("/t", "m", {DeploymentId("a", "x"): 1.0}, name="n")),
            ],
            "m: route name 'n' is used by road n",
        ),
        (
            [
                application("a", "x"),
                road("/s", {DeploymentId("a", "x"): 1.0}, overrides=True),
                Resource("road", "m", Route("/s", "m", {DeploymentId("a", "x"): 1.0}, name="n")),
            ],
            "m: route prefix /s is used by road /s",
        ),
        (
            [application("a", "x"), road("/s", {DeploymentId("b", ""): 1.0})],
            r"route /s: no application 'b' exists; existing applications: \['a'\]",
        ),
        (
            [application("a", "x"), road("/s", {DeploymentId("a", "y"): 1.0})],
            "route /s: no deployment a#y exists",
        ),
        (
            [application("a", "x"), Resource("road", "r", "b")],
            "r needs application b",
        ),
    ],
)
def test_what_cannot_exist_together(resources, message):
    """The error names the conflicting resource and its kind."""
    with pytest.raises(ConfigError, match=message):
        check_plan(planned(*resources), ROADS)


def test_no_two_resources_make_up_one_application():
    """An application belongs to one resource, of whatever kind."""

    class Twins(ApplicationKind):
        name = "twin"

    first = application("a", "x")
    second = Resource("twin", "b", first.spec)
    kinds = {**KINDS, "twin": Twins()}
    plan = Plan.of(stored(first, second).resources, kinds)
    with pytest.raises(ConfigError, match="b: application name 'a' is used by application a"):
        check_plan(plan, kinds)


def test_what_may_stand_side_by_side():
    """Different prefixes, nested prefixes and no prefix do not conflict."""
    resources = [
        application("a", "x", prefix="/a"),
        application("below", "x", prefix="/a/b"),
        application("off", "x"),
        application("off2", "x"),
    ]
    check_plan(planned(*resources), ROADS)


def test_nobody_s_change_is_undone_unseen():
    """The stored resource must equal the expected one or the new one."""
    old, mine, theirs = application("a", "x"), application("a", "y"), application("a", "z")
    key = ("application", "a")
    check_expected([mine], {key: old}, {key: application("a", "x")})
    check_expected([mine], {key: old}, {key: application("a", "y")})
    check_expected([mine], {key: None}, {})
    check_expected([mine], {}, {key: theirs})
    for expected, found in [(old, {key: theirs}), (None, {key: theirs}), (old, {})]:
        with pytest.raises(ConflictError, match="application 'a' was changed by another program"):
            check_expected([mine], {key: expected}, found)


def test_shadows_need_a_plugin_that_copies_requests():
    """The error names the package; without shadows, a split needs none."""
    core = [record for record in _plugins.discover() if record.name == "core"]
    plugins = _plugins.load(core, strict=True)
    target = DeploymentId("a", "x")
    split, shadowed = (
        planned(application("a", "x"), road("/s", {target: 1.0}, name="s", **options))
        for options in ({}, {"shadows": {target: 1.0}})
    )
    check_shadows(split.resources["road", "s"], plugins)
    told = "route s: copying requests to shadows needs the package alacarte-endpoints"
    with pytest.raises(PluginError, match=told):
        check_shadows(shadowed.resources["road", "s"], plugins)
