"""Placement of an actor in Ray's terms: its options and its placement group."""

from __future__ import annotations

import functools
from typing import Any

from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from ...errors import ConfigError
from ..cluster_protocol import ActorSpec
from .control_store import answer
from .error_cause import first_line
from .internals import IMPLICIT_RESOURCE_PREFIX, groups_named
from .nodes import HEAD

__all__ = ["counter_of", "options_of", "remove_groups", "reserve"]


def options_of(spec: ActorSpec, group: PlacementGroup | None) -> dict[str, Any]:
    """Return an actor's resources, environment and scheduling strategy as Ray's options."""
    options: dict[str, Any] = {"num_cpus": 0, **spec.options}
    if spec.node_id:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(spec.node_id, soft=False)
    elif group is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
    else:
        options["scheduling_strategy"] = "SPREAD" if spec.spread else "DEFAULT"
    if spec.on_head:
        options["resources"] = {**(options.get("resources") or {}), HEAD: 0.001}
    if spec.max_per_node:
        resources = dict(options.get("resources") or {})
        resources[counter_of(spec)] = 1.0 / spec.max_per_node
        options["resources"] = resources
    if spec.avoid and group is None and "label_selector" not in options:
        # Ray places actors on a dead node until the node has missed its heartbeats.
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(spec.avoid)})"}
        options["fallback_strategy"] = [{"label_selector": {}}]
    return options


def counter_of(spec: ActorSpec) -> str:
    """Return the resource that limits a group's actors on a node: each node has 1, undeclared."""
    return f"{IMPLICIT_RESOURCE_PREFIX}{spec.group}"


async def reserve(spec: ActorSpec) -> PlacementGroup:
    """Create the placement group of an actor. It may still be pending: the actor waits for it."""
    labels = list(map(dict, spec.bundle_labels))
    create = functools.partial(
        placement_group,
        list(map(dict, spec.bundles)),
        spec.bundle_strategy,
        name=spec.name,
        lifetime="detached",
        # Ray before 2.49 does not have this argument.
        **({"bundle_label_selector": labels} if labels else {}),
    )
    try:
        return await answer(f"reserving bundles for {spec.name}", create, remove_placement_group)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Ray does not accept the bundles: {first_line(error)}") from None


def remove_groups(actor: str) -> None:
    """Remove the placement group of the actor with this name. Blocks on Ray's control store."""
    for name, group in groups_named(actor):
        if name == actor:
            remove_placement_group(group)
