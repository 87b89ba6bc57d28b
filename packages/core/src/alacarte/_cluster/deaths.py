"""Causes of an actor's death in Ray's error messages. Pure."""

from __future__ import annotations

__all__ = ["cause_of_death", "is_unexplained"]

_CAUSE_PREFIX = "The actor is dead because "
_GUESSES_PREFIX = " Some common causes include"
_DETAIL_PREFIX = "Worker exit detail: "
_UNEXPLAINED = "unexpectedly exits with a connection error"


def is_unexplained(text: str) -> bool:
    """Return whether Ray knows no more than that the process is gone."""
    return _UNEXPLAINED in text


def cause_of_death(text: str) -> str:
    """Return the sentence of a Ray error message that states the cause, else its first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "it died, and Ray gives no reason"
    causes = [line for line in lines if line.startswith(_CAUSE_PREFIX)]
    if not causes:
        return lines[0]
    if is_unexplained(text):
        return "its process ended, and Ray does not know how"
    cause = causes[0].removeprefix(_CAUSE_PREFIX).partition(_GUESSES_PREFIX)[0]
    _, found, detail = cause.partition(_DETAIL_PREFIX)
    return detail if found else cause
