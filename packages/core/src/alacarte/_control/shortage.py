"""What users are told about resources that a deployment waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "Ask",
    "Reminder",
    "describe_oversized",
    "describe_shortage",
    "describe_totals",
    "remedy",
    "waiting_line",
]

Shortage: TypeAlias = Mapping[str, tuple[float, float]]
"""By resource: how much is asked for, and how much there is."""
_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
_GIB = 1024**3


@dataclass(frozen=True)
class Ask:
    """What one deployment asks for.

    Attributes:
        app: Its application.
        resources: Of one replica, by Ray's name for it.
        replicas: How many are wanted.
    """

    app: str
    resources: Mapping[str, float]
    replicas: int

    def total(self, resource: str) -> float:
        """Return how much of a resource all replicas together ask for."""
        return self.resources.get(resource, 0.0) * self.replicas


class Reminder:
    """Says when a line that is repeated is due: soon, and then after ever longer pauses.

    Args:
        first_s: How long nothing is said.
        pause_s: After the first line; the pauses after that are twice as long each time.
        longest_s: No pause is longer.
    """

    def __init__(self, first_s: float, pause_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._second_s = pause_s
        self._longest_s = longest_s
        self._pause_s = pause_s
        self._due_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether to say it now; the next pause begins if so. The first question starts it."""
        if self._due_at is None:
            self._due_at = now + self._first_s
        if now < self._due_at:
            return False
        self._due_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._longest_s)
        return True

    def reset(self) -> None:
        """There is nothing to say any more."""
        self._pause_s = self._second_s
        self._due_at = None


def describe_shortage(missing: Shortage) -> str:
    """Return what a replica waits for: "1 CPU; the cluster has 0 free"."""
    return ", and ".join(_shortage(name, *amounts) for name, amounts in missing.items())


def _shortage(name: str, needed: float, free: float) -> str:
    plain, bundle = _parted(name)
    if plain.startswith("room for "):
        return f"a place: {plain}, and every node has as many (max_replicas_per_node)"
    if plain.startswith("node"):
        return f"a {plain}{bundle}; the cluster has none that takes replicas"
    has = f"no node has more than {_bare(plain, free)} free" if free else "the cluster has 0 free"
    return f"{_amount(plain, needed)}{bundle}; {has}"


def waiting_line(deployment: str, replicas: int, missing: Shortage) -> str:
    """Return what a deployment waits for and what its user may do, as a line of the log."""
    who = f"Deployment '{deployment}' waits for"
    if replicas > 1:
        who = f"Deployment '{deployment}': {replicas} replicas wait, each for"
    return f"{who} {describe_shortage(missing)}. {remedy([*missing], several=replicas > 1)}"


def describe_oversized(deployment: str, short: Shortage) -> str:
    """Return that a replica fits on no node, with what it asks for and what the largest has."""
    parts = []
    for name, (needed, most) in short.items():
        plain, bundle = _parted(name)
        if plain.startswith("node"):
            parts.append(f"for a {plain}{bundle}; the cluster has none that takes replicas")
        else:
            largest = f"no node of the cluster has more than {_bare(plain, most)}"
            if not most:
                largest = "no node of the cluster has any"
            parts.append(f"for {_amount(plain, needed)}{bundle}; {largest}")
    return f"Deployment '{deployment}': one replica asks {', and '.join(parts)}."


def describe_totals(asks: Mapping[str, Ask], totals: Shortage) -> list[str]:
    """Return a sentence for each resource of which all deployments together ask for too much.

    The sentence names the one deployment that asks for too much by itself, else the one
    application, else all applications that ask for the resource.

    Args:
        asks: By deployment, as `application#deployment`.
        totals: By resource: what all ask for, and what the cluster has.
    """
    return [_total(asks, name, asked, total) for name, (asked, total) in totals.items()]


def _total(asks: Mapping[str, Ask], name: str, asked: float, total: float) -> str:
    if name.startswith("room for "):
        return f"{asked:g} replicas want {name}; the nodes of the cluster take {total:g} in all."
    ends = f"; the cluster has {_bare(name, total)} in all."
    for deployment, ask in asks.items():
        wanted = ask.total(name)
        if wanted > total:
            each = "" if ask.replicas == 1 else f" ({ask.replicas} replicas of {_each(ask, name)})"
            return f"Deployment '{deployment}' asks for {_amount(name, wanted)}{each}{ends}"
    apps: dict[str, float] = {}
    for ask in asks.values():
        if ask.total(name):
            apps[ask.app] = apps.get(ask.app, 0.0) + ask.total(name)
    for app, amount in apps.items():
        if amount > total:
            return f"Application '{app}' asks for {_amount(name, amount)}{ends}"
    parts = [f"'{app}' ({_bare(name, amount)})" for app, amount in apps.items()]
    return f"Applications {_listed(parts)} ask for {_amount(name, asked)} together{ends}"


def _each(ask: Ask, name: str) -> str:
    return _amount(name, ask.resources[name])


def remedy(resources: Sequence[str], *, several: bool = False) -> str:
    """Return what a user may do about resources that are short.

    Args:
        several: Fewer replicas would do, too.
    """
    options = []
    for name in resources:
        plain, bundle = _parted(name)
        if bundle:
            options.append("`placement_group_bundles`")
        elif plain.startswith("room for "):
            options.append("`num_replicas`")
        elif plain.startswith("node"):
            continue
        else:
            option = _OPTIONS.get(plain)
            key = f"['{option}']" if option else f"['resources']['{plain}']"
            options.append(f"`ray_actor_options{key}`")
    if several:
        options.insert(0, "`num_replicas`")
    unique = list(dict.fromkeys(options))
    return f"Lower {_listed(unique, 'or')}, or add a node." if unique else "Add such a node."


def _parted(name: str) -> tuple[str, str]:
    """Return a resource's name, and which bundle needs it."""
    plain, found, index = name.partition(" (bundle ")
    return plain, f" for bundle {index.rstrip(')')}" if found else ""


def _amount(name: str, amount: float) -> str:
    """Return an amount with its resource: "2 CPUs", "1.5 GiB of memory"."""
    if name == "memory":
        return f"{_bare(name, amount)} of memory"
    if name in ("CPU", "GPU"):
        return f"{amount:g} {name}" + ("" if amount == 1 else "s")
    return f"{amount:g} of the resource '{name}'"


def _bare(name: str, amount: float) -> str:
    return f"{amount / _GIB:.3g} GiB" if name == "memory" else f"{amount:g}"


def _listed(parts: Sequence[str], word: str = "and") -> str:
    """Return parts as a list in a sentence."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"
