"""What people call an actor's process, in `ps` and in front of its lines of the log. Pure."""

from __future__ import annotations

__all__ = ["title_of"]


def title_of(name: str) -> str:
    """Return the title of an actor by its name: what it is and whose, not which of them.

    `alacarte:1f2e:replica:shop#Model#9c` is `alacarte:replica shop#Model`. Names that are not made
    by alacarte's controller are titles already.
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
