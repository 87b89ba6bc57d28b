"""Titles of actors' processes, in `ps` and in front of their log lines. Pure."""

from __future__ import annotations

__all__ = ["title_of"]


def title_of(name: str) -> str:
    """Return the title of an actor's process: kind and owner, without ids.

    The title of `alacarte:1f2e:replica:shop#Model#9c` is `alacarte:replica shop#Model`. A name that
    the controller did not make is its own title.
    """
    parts = name.split(":", 3)
    if len(parts) < 4:
        return name
    system, _, kind, rest = parts
    if kind == "replica":
        return f"{system}:{kind} {rest.rpartition('#')[0]}"
    if kind == "service":
        return f"{system}:{kind} {rest.partition(':')[0]}"
    return f"{system}:{kind}"
