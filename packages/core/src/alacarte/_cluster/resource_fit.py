"""Tell what an actor lacks: its needs against what is free on the nodes. Pure.

What a cluster says it has free is a moment old, and it places actors itself. So this is what people
are told, and what a rollout is planned with; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["FreeNode", "Group", "Shortfall", "Need", "exceeded", "shortfall", "matches"]

Shortfall = dict[str, tuple[float, float]]
"""By resource: how much is needed, and how much the best node has."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FreeNode:
    """A node that takes actors, and what is free on it."""

    node_id: str
    free: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> float:
        """Return how much of a resource is free here."""
        return self.free.get(name, 0.0)


@dataclass(frozen=True)
class Need:
    """What must lie on one node.

    Attributes:
        resources: How much of each.
        selectors: Labels the node must have; one of these suffices, and () asks for none.
        node_id: The only node that will do, "" for any.
    """

    resources: Mapping[str, float]
    selectors: tuple[Mapping[str, str], ...] = ()
    node_id: str = ""

    def fits(self, node: FreeNode) -> bool:
        """Whether the node is one that it may lie on, full or not."""
        if self.node_id and node.node_id != self.node_id:
            return False
        return not self.selectors or any(matches(each, node.labels) for each in self.selectors)

    def shortage(self, node: FreeNode) -> Shortfall:
        """Return what the node has too little of."""
        return {
            name: (amount, node.has(name))
            for name, amount in self.resources.items()
            if node.has(name) + _ROUNDING < amount
        }

    def described(self) -> str:
        """Name the nodes that it may lie on."""
        if self.node_id:
            return f"node {self.node_id}"
        found = [
            ", ".join(f"{label}={asked}" for label, asked in selector.items())
            for selector in self.selectors
        ]
        return f"node with {' or '.join(found)}" if found else "node"


@dataclass(frozen=True)
class Group:
    """Actors of one kind.

    Attributes:
        needs: What one of them takes of each node that it lies on.
        count: How many are wanted.
        together: All needs of one actor must share a node.
        apart: No two needs of one actor may share a node.
    """

    needs: Sequence[Need]
    count: int
    together: bool = False
    apart: bool = False

    @property
    def resources(self) -> Mapping[str, float]:
        """What one of them takes in all."""
        return _sum(self.needs).resources


def exceeded(
    groups: Mapping[str, Group], nodes: Sequence[FreeNode]
) -> tuple[dict[str, Shortfall], Shortfall]:
    """Return what groups of actors ask for that the nodes would not have if they were empty.

    Args:
        nodes: With all that they have as what is free.

    Returns:
        By group what one actor asks for that no node has; and by resource what all actors
        together ask for beyond what all nodes together have.
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
    totals = {name: sum(node.has(name) for node in nodes) for name in asked}
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
    """Return what is missing for all needs at once; {} when there is room.

    Args:
        nodes: Those that take actors.
        together: They must share a node.
        apart: No two may share a node.
    """
    if together and len(needs) > 1:
        needs = [_sum(needs)]
    left = list(nodes)
    for index, need in enumerate(needs):
        fitting = [node for node in left if need.fits(node)]
        if not fitting:
            return _named({need.described(): (1.0, 0.0)}, index, needs)
        best = min(fitting, key=lambda node: _distance(need.shortage(node)))
        short = need.shortage(best)
        if short:
            return _named(short, index, needs)
        left.remove(best)
        if not apart:
            left.append(_without(best, need))
    return {}


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels are as a selector asks: "a", "!a", "in(a, b)" or "!in(a, b)" by label."""
    return all(_is(labels.get(label), asked) for label, asked in selector.items())


def _is(value: str | None, asked: str) -> bool:
    plain = asked.removeprefix("!")
    allowed = {plain}
    if plain.startswith("in(") and plain.endswith(")"):
        allowed = {each.strip() for each in plain[3:-1].split(",")}
    return (value in allowed) != asked.startswith("!")


def _sum(needs: Sequence[Need]) -> Need:
    total: dict[str, float] = {}
    for need in needs:
        for name, amount in need.resources.items():
            total[name] = total.get(name, 0.0) + amount
    # Selectors of several bundles must all hold on the one node.
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


def _named(short: Shortfall, index: int, needs: Sequence[Need]) -> Shortfall:
    if len(needs) == 1:
        return short
    return {f"{name} (bundle {index})": amounts for name, amounts in short.items()}
