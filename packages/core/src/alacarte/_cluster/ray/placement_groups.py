"""Placing an actor: its resources, node and bundles, as Ray takes them."""

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
    """Return an actor's resources, environment and place, as Ray takes them."""
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
        # Ray goes on placing actors on a node that is gone until it has missed its heartbeats.
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(spec.avoid)})"}
        options["fallback_strategy"] = [{"label_selector": {}}]
    return options


def counter_of(spec: ActorSpec) -> str:
    """Name the resource that bounds a group's actors on a node: each node has 1, undeclared."""
    return f"{IMPLICIT_RESOURCE_PREFIX}{spec.group}"


async def reserve(spec: ActorSpec) -> PlacementGroup:
    """Ask for an actor's bundles. They need not be there yet: the actor waits for them."""
    labels = list(map(dict, spec.bundle_labels))
    ask = functools.partial(
        placement_group,
        list(map(dict, spec.bundles)),
        spec.bundle_strategy,
        name=spec.name,
        lifetime="detached",
        # Ray before 2.49 does not know this argument.
        **({"bundle_label_selector": labels} if labels else {}),
    )
    what = f"setting aside bundles for {spec.name}"
    try:
        return await answer(what, ask, remove_placement_group)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Ray does not accept the bundles: {first_line(error)}") from None


def remove_groups(actor: str) -> None:
    """Give back the bundles of the actor of that name. Blocks on Ray's control store."""
    for name, group in groups_named(actor):
        if name == actor:
            remove_placement_group(group)
