"""The actors that replicas run in."""

from __future__ import annotations

from alacarte._control.placement import placement_of, replica_actor_spec
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.actors import Membership
from alacarte.config import DeploymentConfig
from alacarte.types import DeploymentId


def spec(**options: object) -> DeploymentSpec:
    config = DeploymentConfig(**options)  # type: ignore[arg-type]
    me = DeploymentId("app", "D")
    return DeploymentSpec(me, "v1", b"code", b"init", False, config, ("/lib",))


def test_a_place_follows_from_the_options():
    """Resources that are not named are not asked for."""
    found = placement_of(
        spec(
            ray_actor_options={"num_cpus": 2, "resources": {}},
            max_replicas_per_node=3,
            placement="spread",
        )
    )
    assert found.options["num_cpus"] == 2
    assert "resources" not in found.options
    assert (found.group, found.max_per_node, found.spread) == ("app#D", 3, True)
    assert (found.name, found.args) == ("", ())


def test_a_replica_has_a_name_contents_and_a_secret_of_its_own_argument():
    """The secret has a short argument of its own: the cluster may store long arguments."""
    membership = Membership("i", b"secret", {})
    found = replica_actor_spec(
        "app#D#1", spec(user_config={"a": 1}), membership, (), {"n2", "", "n1"}
    )
    assert found.name == "alacarte:i:replica:app#D#1"
    contents, given = found.args
    assert given is membership
    assert (contents.code, contents.init, contents.user_config) == (b"code", b"init", {"a": 1})
    assert found.avoid == ("n1", "n2")
    assert found.import_paths == ("/lib",)
