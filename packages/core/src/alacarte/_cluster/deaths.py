"""Why Ray says that an actor died, in one sentence. Pure."""

from __future__ import annotations

__all__ = ["cause_of_death", "is_unexplained"]

_BECAUSE = "The actor is dead because "
_GUESSES = " Some common causes include"
_DETAIL = "Worker exit detail: "
_UNEXPLAINED = "unexpectedly exits with a connection error"


def is_unexplained(text: str) -> bool:
    """Whether Ray has only seen that the process is gone."""
    return _UNEXPLAINED in text


def cause_of_death(text: str) -> str:
    """Return the reason in an error of Ray's: its sentence of the cause, else its first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "it died, and Ray gives no reason"
    causes = [line for line in lines if line.startswith(_BECAUSE)]
    if not causes:
        return lines[0]
    if is_unexplained(text):
        return "its process ended, and Ray does not know how"
    cause = causes[0].removeprefix(_BECAUSE).partition(_GUESSES)[0]
    _, found, detail = cause.partition(_DETAIL)
    return detail if found else cause
