"""Ray's exceptions, as the rest of alacarte has them."""

from __future__ import annotations

from ray import exceptions

from ...errors import PluginError

__all__ = ["cause_of", "first_line"]


def cause_of(error: exceptions.RayTaskError) -> BaseException:
    """Return the exception as it was raised in the actor."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else PluginError(str(error))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
