"""Resources that actors lack, from Ray's reports about the nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..cluster_protocol import ActorSpec, Capacity
from ..resource_fit import FreeNode, Group, Need, find_excess, shortfall
from .internals import STORE_TIMEOUT_S, draining_nodes, living_nodes, store
from .placement_groups import counter_of

__all__ = ["compute_capacity", "missing_resources"]

_ACCELERATOR_SHARE = 0.001
"""The amount of `accelerator_type:...` that Ray requests for an actor."""
_AUTOSCALER_V2 = b"__autoscaler_v2_enabled"
_AUTOSCALER_STATUS = b"__autoscaling_status"


def missing_resources(spec: ActorSpec) -> dict[str, tuple[float, float]]:
    """Return the answer of `Cluster.missing`. Blocks on Ray's control store."""
    group = _group(spec, 1)
    return shortfall(group.needs, _free_nodes(spec), together=group.together, apart=group.apart)


def compute_capacity(demand: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
    """Return the answer of `Cluster.capacity`. Blocks on Ray's control store."""
    groups = {key: _group(spec, count) for key, (spec, count) in demand.items()}
    limits = {_group_resource(spec): spec.max_per_node for spec, _ in demand.values()}
    oversized, totals = find_excess(groups, _whole_nodes(limits))
    if not (oversized or totals):
        return Capacity()
    requests = {key: group.resources for key, group in groups.items()}
    return Capacity(oversized, totals, requests, _is_autoscaled())


def _group(spec: ActorSpec, count: int) -> Group:
    return Group(
        _needs(spec),
        count,
        together=spec.bundle_strategy == "STRICT_PACK",
        apart=spec.bundle_strategy == "STRICT_SPREAD",
    )


def _needs(spec: ActorSpec) -> list[Need]:
    """Return an actor's needs, one for each node or bundle, with Ray's names of resources."""
    if spec.bundles:
        labels = spec.bundle_labels or ({},) * len(spec.bundles)
        return [
            Need(bundle, (selector,) if selector else ())
            for bundle, selector in zip(spec.bundles, labels, strict=True)
        ]
    options = spec.options
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    amounts = {ray_name: options.get(name) or 0 for name, ray_name in names.items()}
    amounts |= options.get("resources") or {}
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_SHARE
    if spec.max_per_node:
        amounts[_group_resource(spec)] = 1.0
    asked = [options, *(options.get("fallback_strategy") or ())]
    selectors = tuple(each["label_selector"] for each in asked if each.get("label_selector"))
    resources = {name: float(amount) for name, amount in amounts.items() if amount}
    return [Need(resources, selectors, spec.node_id)]


def _group_resource(spec: ActorSpec) -> str:
    """Return a name for the resource by which `max_per_node` limits a node."""
    return f"room for {spec.group} (at most {spec.max_per_node} on a node)"


def _free_nodes(spec: ActorSpec) -> list[FreeNode]:
    """Return the nodes that accept actors, with their free resources."""
    labels = {node_id: dict(node.labels) for node_id, node in living_nodes().items()}
    leaving = draining_nodes()
    usage = store().get_all_resource_usage(timeout=STORE_TIMEOUT_S).resource_usage_data.batch
    nodes = []
    for each in usage:
        node_id = each.node_id.hex()
        if node_id in labels and node_id not in leaving:
            free = dict(each.resources_available)
            if spec.max_per_node:
                # In shares of 1/n; Ray reports the resource only while an actor has a share.
                share = free.get(counter_of(spec), 1.0)
                free[_group_resource(spec)] = float(round(share * spec.max_per_node))
            nodes.append(FreeNode(node_id, free, labels[node_id]))
    return nodes


def _whole_nodes(limits: Mapping[str, int]) -> list[FreeNode]:
    """Return the nodes that accept actors, with all their resources, free or in use.

    Args:
        limits: By name of a group's resource: how many of its actors may share a node.
    """
    leaving = draining_nodes()
    room = {name: float(limit) for name, limit in limits.items()}
    return [
        FreeNode(node_id, {**dict(node.resources_total), **room}, dict(node.labels))
        for node_id, node in living_nodes().items()
        if node_id not in leaving
    ]


def _is_autoscaled() -> bool:
    """Return whether Ray's autoscaler may add nodes.

    A cluster that was put together by hand reports an autoscaler, too, one that cannot. Ray gives
    each node of such a cluster a node type of its own.
    """
    control_store = store()
    if control_store.internal_kv_get(_AUTOSCALER_V2, None, timeout=STORE_TIMEOUT_S) == b"1":
        return True
    status = control_store.internal_kv_get(_AUTOSCALER_STATUS, None, timeout=STORE_TIMEOUT_S)
    report = (json.loads(status) if status else {}).get("autoscaler_report") or {}
    types = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node_id}" for node_id, kind in types.items())
