"""Actor specs of replicas: placement, resources and constructor arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .._cluster.actor_names import replica_prefix
from .._cluster.cluster_protocol import ActorSpec
from .._model.deployment_spec import DeploymentSpec
from .._plugins import PluginRecord
from .._replica.replica_spec import ReplicaSpec
from ..actors import Membership

__all__ = ["REPLICA_TARGET", "placement_of", "replica_actor_spec"]

REPLICA_TARGET = "alacarte._replica.replica_actor:ReplicaActor"


def placement_of(spec: DeploymentSpec) -> ActorSpec:
    """Return the actor spec of a deployment's replicas, with the fields that decide placement."""
    config = spec.config
    options = config.ray_actor_options.model_dump(exclude_none=True)
    return ActorSpec(
        name="",
        target=REPLICA_TARGET,
        options={name: value for name, value in options.items() if value != {}},
        group=str(spec.id),
        max_per_node=config.max_replicas_per_node or 0,
        spread=config.placement == "spread",
        bundles=tuple(config.placement_group_bundles or ()),
        bundle_strategy=config.placement_group_strategy or "PACK",
        bundle_labels=config.bundle_labels,
    )


def replica_actor_spec(
    replica_id: str,
    spec: DeploymentSpec,
    membership: Membership,
    plugins: tuple[PluginRecord, ...],
    avoid: Iterable[str],
) -> ActorSpec:
    """Return the actor spec of one replica.

    Args:
        avoid: Ids of nodes with unresponsive replicas; "" is ignored.
    """
    config = spec.config
    contents = ReplicaSpec(
        deployment=spec.id,
        replica_id=replica_id,
        version=spec.version,
        code=spec.code,
        init=spec.init,
        is_function=spec.is_function,
        max_ongoing=config.max_ongoing_requests,
        user_config=config.user_config,
        options=spec.options,
    )
    return replace(
        placement_of(spec),
        name=f"{replica_prefix(membership.instance)}{replica_id}",
        args=(contents, membership),
        plugins=plugins,
        import_paths=spec.import_paths,
        avoid=tuple(sorted({*avoid} - {""})),
    )
