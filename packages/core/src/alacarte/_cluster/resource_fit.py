"""Compare the resources that actors need with the resources of nodes. Pure.

A cluster reports free resources a moment late, and places actors itself. So these results serve
status messages and the planning of rollouts; they decide no placement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["FreeNode", "Group", "Need", "Shortfall", "find_excess", "matches", "shortfall"]

Shortfall = dict[str, tuple[float, float]]
"""By resource: the amount needed, and the amount on the best node."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FreeNode:
    """A node that accepts actors, and its free resources."""

    node_id: str
    free: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def amount(self, resource: str) -> float:
        """Return the free amount of a resource."""
        return self.free.get(resource, 0.0)


@dataclass(frozen=True)
class Need:
    """The resources and labels that an actor, or one bundle of an actor, needs of one node.

    Attributes:
        resources: Amounts by resource.
        selectors: Label selectors, of which the node must match one; () for any node.
        node_id: The only acceptable node, "" for any.
    """

    resources: Mapping[str, float]
    selectors: tuple[Mapping[str, str], ...] = ()
    node_id: str = ""

    def allows(self, node: FreeNode) -> bool:
        """Return whether the node's id and labels are acceptable, however full the node is."""
        if self.node_id and node.node_id != self.node_id:
            return False
        return not self.selectors or any(matches(each, node.labels) for each in self.selectors)

    def shortage(self, node: FreeNode) -> Shortfall:
        """Return the resources of which the node has too little."""
        return {
            name: (amount, node.amount(name))
            for name, amount in self.resources.items()
            if node.amount(name) + _ROUNDING < amount
        }

    def describe_nodes(self) -> str:
        """Return a description of the acceptable nodes: "node with zone=a"."""
        if self.node_id:
            return f"node {self.node_id}"
        found = [
            ", ".join(f"{label}={asked}" for label, asked in selector.items())
            for selector in self.selectors
        ]
        return f"node with {' or '.join(found)}" if found else "node"


@dataclass(frozen=True)
class Group:
    """A number of actors with the same needs.

    Attributes:
        needs: The needs of one actor, one for each node or bundle.
        count: The number of actors.
        together: All needs of one actor must share a node.
        apart: No two needs of one actor may share a node.
    """

    needs: Sequence[Need]
    count: int
    together: bool = False
    apart: bool = False

    @property
    def resources(self) -> Mapping[str, float]:
        """The total resources of one actor."""
        return _sum(self.needs).resources


def find_excess(
    groups: Mapping[str, Group], nodes: Sequence[FreeNode]
) -> tuple[dict[str, Shortfall], Shortfall]:
    """Return the requests of groups of actors that exceed the nodes' capacity.

    Args:
        nodes: Nodes whose whole capacity counts as free.

    Returns:
        By group, the shortfall of one actor where no node is large enough; and by resource, the
        sum of all requests and the sum over all nodes, where the requests are larger.
    """
    oversized: dict[str, Shortfall] = {}
    asked: dict[str, float] = {}
    for key, group in groups.items():
        if not group.count:
            continue
        short = shortfall(group.needs, nodes, together=group.together, apart=group.apart)
        if short:
            oversized[key] = short
        for name, amount in group.resources.items():
            asked[name] = asked.get(name, 0.0) + amount * group.count
    totals = {name: sum(node.amount(name) for node in nodes) for name in asked}
    return oversized, {
        name: (amount, totals[name])
        for name, amount in asked.items()
        if totals[name] + _ROUNDING < amount
    }


def shortfall(
    needs: Sequence[Need],
    nodes: Iterable[FreeNode],
    *,
    together: bool = False,
    apart: bool = False,
) -> Shortfall:
    """Return the resources that are missing for all needs at once; {} when all needs fit.

    Args:
        nodes: Nodes that accept actors.
        together: All needs must share a node.
        apart: No two needs may share a node.
    """
    if together and len(needs) > 1:
        needs = [_sum(needs)]
    left = list(nodes)
    for index, need in enumerate(needs):
        allowed = [node for node in left if need.allows(node)]
        if not allowed:
            return _label_bundle({need.describe_nodes(): (1.0, 0.0)}, index, needs)
        best = min(allowed, key=lambda node: _distance(need.shortage(node)))
        short = need.shortage(best)
        if short:
            return _label_bundle(short, index, needs)
        left.remove(best)
        if not apart:
            left.append(_without(best, need))
    return {}


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether labels match a selector of Ray's.

    Args:
        selector: By label, a condition: "a", "!a", "in(a, b)" or "!in(a, b)".
    """
    return all(_satisfies(labels.get(label), condition) for label, condition in selector.items())


def _satisfies(value: str | None, condition: str) -> bool:
    """Return whether a label's value, None for a missing label, satisfies a condition."""
    plain = condition.removeprefix("!")
    allowed = {plain}
    if plain.startswith("in(") and plain.endswith(")"):
        allowed = {each.strip() for each in plain[3:-1].split(",")}
    return (value in allowed) != condition.startswith("!")


def _sum(needs: Sequence[Need]) -> Need:
    total: dict[str, float] = {}
    for need in needs:
        for name, amount in need.resources.items():
            total[name] = total.get(name, 0.0) + amount
    # The one node must match the selectors of all bundles.
    merged: dict[str, str] = {}
    for need in needs:
        for selector in need.selectors:
            merged.update(selector)
    return Need(total, (merged,) if merged else ())


def _distance(short: Shortfall) -> tuple[int, float]:
    return len(short), sum((needed - free) / needed for needed, free in short.values())


def _without(node: FreeNode, need: Need) -> FreeNode:
    rest = {name: amount - need.resources.get(name, 0.0) for name, amount in node.free.items()}
    return FreeNode(node.node_id, rest, node.labels)


def _label_bundle(short: Shortfall, index: int, needs: Sequence[Need]) -> Shortfall:
    """Add the number of the bundle to each resource, for an actor with several bundles."""
    if len(needs) == 1:
        return short
    return {f"{name} (bundle {index})": amounts for name, amounts in short.items()}
