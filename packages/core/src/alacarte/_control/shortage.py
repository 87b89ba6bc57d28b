"""Messages about resources that a deployment waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ResourceRequest",
    "Reminder",
    "describe_oversized",
    "describe_shortage",
    "describe_totals",
    "remedy",
    "waiting_line",
]

Shortage: TypeAlias = Mapping[str, tuple[float, float]]
"""By resource: the requested and the available amount."""
_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
_GIB = 1024**3


@dataclass(frozen=True)
class ResourceRequest:
    """The resource request of one deployment.

    Attributes:
        app: Name of the application.
        resources: Resources of one replica, by Ray's name.
        replicas: Number of replicas.
    """

    app: str
    resources: Mapping[str, float]
    replicas: int

    def total(self, resource: str) -> float:
        """Return the amount of a resource that all replicas together request."""
        return self.resources.get(resource, 0.0) * self.replicas


class Reminder:
    """Schedule of a repeated log line, with exponential pauses.

    Args:
        first_s: Delay of the first line.
        pause_s: Pause after the first line; each later pause is twice as long.
        longest_s: Longest pause.
    """

    def __init__(self, first_s: float, pause_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._second_s = pause_s
        self._longest_s = longest_s
        self._pause_s = pause_s
        self._due_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Return whether the line is due, and start the next pause if so.

        The first call starts the delay of the first line.
        """
        if self._due_at is None:
            self._due_at = now + self._first_s
        if now < self._due_at:
            return False
        self._due_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._longest_s)
        return True

    def reset(self) -> None:
        """Start over with the first delay."""
        self._pause_s = self._second_s
        self._due_at = None


def describe_shortage(missing: Shortage) -> str:
    """Return the missing resources, such as "1 CPU; the cluster has 0 free"."""
    return ", and ".join(_shortage(name, *amounts) for name, amounts in missing.items())


def _shortage(name: str, needed: float, free: float) -> str:
    plain, bundle = _split_bundle(name)
    if plain.startswith("room for "):
        return f"{plain}; every node has reached max_replicas_per_node"
    if plain.startswith("node"):
        return f"a {plain}{bundle}; no such node of the cluster accepts replicas"
    available = "the cluster has 0 free"
    if free:
        available = f"no node has more than {_format_quantity(plain, free)} free"
    return f"{_format_amount(plain, needed)}{bundle}; {available}"


def waiting_line(deployment: str, replicas: int, missing: Shortage) -> str:
    """Return the log line of a waiting deployment: the missing resources and a remedy."""
    who = f"Deployment '{deployment}' waits for"
    if replicas > 1:
        who = f"Deployment '{deployment}': {replicas} replicas wait, each for"
    return f"{who} {describe_shortage(missing)}. {remedy([*missing], several=replicas > 1)}"


def describe_oversized(deployment: str, short: Shortage) -> str:
    """Return the message about a replica that fits on no node, with the largest node's amounts."""
    parts = []
    for name, (needed, most) in short.items():
        plain, bundle = _split_bundle(name)
        if plain.startswith("node"):
            parts.append(f"for a {plain}{bundle}; no such node of the cluster accepts replicas")
        else:
            largest = f"no node of the cluster has more than {_format_quantity(plain, most)}"
            if not most:
                largest = "no node of the cluster has any"
            parts.append(f"for {_format_amount(plain, needed)}{bundle}; {largest}")
    return f"Deployment '{deployment}': one replica asks {', and '.join(parts)}."


def describe_totals(requests: Mapping[str, ResourceRequest], totals: Shortage) -> list[str]:
    """Return a sentence for each resource of which all deployments together request too much.

    The sentence names the one deployment that requests too much by itself, else the one
    application, else all applications that request the resource.

    Args:
        requests: Requests by deployment, as `application#deployment`.
        totals: Requested and existing amount by resource.
    """
    return [_total(requests, name, asked, total) for name, (asked, total) in totals.items()]


def _total(requests: Mapping[str, ResourceRequest], name: str, asked: float, total: float) -> str:
    if name.startswith("room for "):
        return f"{asked:g} replicas want {name}; the nodes of the cluster take {total:g} in all."
    supply = f"; the cluster has {_format_quantity(name, total)} in all."
    for deployment, request in requests.items():
        wanted = request.total(name)
        if wanted > total:
            per_replica = f" ({request.replicas} replicas of {_format_request(request, name)})"
            if request.replicas == 1:
                per_replica = ""
            amount = _format_amount(name, wanted)
            return f"Deployment '{deployment}' asks for {amount}{per_replica}{supply}"
    apps: dict[str, float] = {}
    for request in requests.values():
        if request.total(name):
            apps[request.app] = apps.get(request.app, 0.0) + request.total(name)
    for app, wanted in apps.items():
        if wanted > total:
            return f"Application '{app}' asks for {_format_amount(name, wanted)}{supply}"
    parts = [f"'{app}' ({_format_quantity(name, wanted)})" for app, wanted in apps.items()]
    return f"Applications {_join(parts)} ask for {_format_amount(name, asked)} together{supply}"


def _format_request(request: ResourceRequest, name: str) -> str:
    return _format_amount(name, request.resources[name])


def remedy(resources: Sequence[str], *, several: bool = False) -> str:
    """Return the remedy for missing resources, as a sentence.

    Args:
        several: Fewer replicas would help, too.
    """
    options = []
    for name in resources:
        plain, bundle = _split_bundle(name)
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
    return f"Lower {_join(unique, 'or')}, or add a node." if unique else "Add such a node."


def _split_bundle(name: str) -> tuple[str, str]:
    """Split a resource's name into the plain name and a phrase for its bundle, "" for none."""
    plain, found, index = name.partition(" (bundle ")
    return plain, f" for bundle {index.rstrip(')')}" if found else ""


def _format_amount(name: str, amount: float) -> str:
    """Return an amount with its resource, such as "2 CPUs" or "1.5 GiB of memory"."""
    if name == "memory":
        return f"{_format_quantity(name, amount)} of memory"
    if name in ("CPU", "GPU"):
        return f"{amount:g} {name}" + ("" if amount == 1 else "s")
    return f"{amount:g} of the resource '{name}'"


def _format_quantity(name: str, amount: float) -> str:
    return f"{amount / _GIB:.3g} GiB" if name == "memory" else f"{amount:g}"


def _join(parts: Sequence[str], word: str = "and") -> str:
    """Join parts as in a sentence, with a word before the last part."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"
