"""Causes of Ray's exceptions."""

from __future__ import annotations

from ray import exceptions

from ...errors import PluginError

__all__ = ["cause_of", "first_line"]


def cause_of(error: exceptions.RayTaskError) -> BaseException:
    """Return the exception that the actor raised."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else PluginError(str(error))


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
