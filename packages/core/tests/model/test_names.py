"""Rules for names, checked by drivers and by the controller."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte import serve
from alacarte._control.validation import check_plan
from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte._model.graph import build_application
from alacarte._model.kinds import ApplicationKind
from alacarte._model.names import MAX_NAME_LENGTH, MAX_PATH_LENGTH, check_name
from alacarte._model.plan import Plan
from alacarte._wire.authentication import MAX_HANDSHAKE_BYTES, CallerHandshake
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError
from alacarte.types import DeploymentId, Expansion, Resource, Route

BAD = {
    "a\0b": r"'a\\x00b' contains the control character '\\x00'; remove it",
    "a\nb": r"'a\\nb' contains the control character '\\n'; remove it",
    "a\x85b": r"contains the control character '\\x85'; remove it",
    "a\u2028b": r"contains the line separator '\\u2028'; remove it",
    "a\udc80": r"contains the lone surrogate '\\udc80', which cannot be encoded; remove it",
    "n" * 70_000: r"'n{40}'\.\.\. has 70000 characters; at most 200 are allowed. Choose a shorter",
}
KINDS: dict[str, Any] = {"application": ApplicationKind()}


@serve.deployment
class Model:
    """A deployment."""


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_name_says_why(name: str):
    """The error names the subject, the character, and the remedy."""
    with pytest.raises(ConfigError, match=f"^application name .*{BAD[name]}"):
        check_name("application name", name)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_driver_refuses_bad_names_before_anything_is_sent(name: str):
    """Drivers refuse bad names of applications, deployments and paths unsent."""
    with pytest.raises(ConfigError, match="application name"):
        build_application(Model.bind(), name=name, route_prefix=None)
    with pytest.raises(ConfigError, match="deployment name"):
        Model.options(name=name)
    if len(name) < MAX_PATH_LENGTH:
        with pytest.raises(ConfigError, match="app: route_prefix"):
            build_application(Model.bind(), name="app", route_prefix=f"/{name}")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_the_controller_refuses_bad_names(name: str):
    """The controller refuses bad names of any sender, and of plugins' deployments and routes."""

    def application(app: str, deployment: str) -> Resource:
        spec = DeploymentSpec(
            DeploymentId(app, deployment), "v", b"", b"", False, DeploymentConfig()
        )
        return Resource("application", "fine", ApplicationSpec(app, None, spec.id, (spec,)))

    class Redirects:
        name = "redirect"

        def validate(self, resource: Resource, others: object) -> None:
            """Accept all."""

        def expand(self, resource: Resource) -> Expansion:
            return Expansion(routes=(resource.spec,))

    kinds = {**KINDS, "redirect": Redirects()}
    to = {DeploymentId("fine", "x"): 1.0}
    long = name * 10
    for resource in (
        application(name, "x"),
        application("app", name),
        Resource("redirect", name, Route("/a", "r", to)),
        Resource("redirect", "r", Route(f"/{long}", "r", to)),
        Resource("redirect", "r", Route("", "r", to, name=long)),
    ):
        plan = Plan.of({(resource.kind, resource.name): resource}, kinds)
        with pytest.raises(ConfigError, match="name|prefix"):
            check_plan(plan, kinds)


def test_good_names_are_taken_as_they_are():
    """Names may contain blanks, punctuation and letters of every script."""
    for name in ("default", "a b", "模型-1", "x" * MAX_NAME_LENGTH, "a#b"):
        assert check_name("application name", name) == name


def test_a_separator_is_refused():
    """A deployment's name must not contain "#", which follows the application's name in ids."""
    with pytest.raises(ConfigError, match='must not contain "#"'):
        check_name("deployment name", "a#b", forbidden="#")


def test_the_longest_names_fit_into_a_connections_first_message():
    """Two names of the maximal length, with four bytes per character, fit into a HELLO."""
    longest = "\U0001f600" * MAX_NAME_LENGTH
    replica_id = f"{DeploymentId(longest, longest)}#12345678"
    assert len(CallerHandshake(b"secret", replica_id).hello()) < MAX_HANDSHAKE_BYTES
