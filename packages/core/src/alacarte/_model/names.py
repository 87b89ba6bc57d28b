"""The rules for names, in one place: what users call applications, deployments and routes.

Names stand in log lines, in headers, in the names of actors and in the first message of a
connection, which is bounded. Pure.
"""

from __future__ import annotations

import unicodedata

from ..errors import ConfigError

__all__ = ["MAX_NAME_LENGTH", "MAX_PATH_LENGTH", "check_name", "check_text"]

MAX_NAME_LENGTH = 200
"""In characters. Two names, of four bytes a character, fit into a HELLO of 4096 bytes."""
MAX_PATH_LENGTH = 2000
_UNPRINTABLE = {"Cc": "control character", "Zl": "line separator", "Zp": "line separator"}
_MAX_SHOWN = 40


def check_name(subject: str, name: object, *, forbidden: str = "") -> str:
    """Return a name.

    Args:
        subject: Whose name it is, for errors: "application name".
        forbidden: A character that separates such names from others.

    Raises:
        TypeError: The name is not a string.
        ConfigError: The name is empty or too long, or holds a character that no name may hold.
    """
    if not isinstance(name, str):
        raise TypeError(f"{subject} must be a string, not {name!r}.")
    if not name:
        raise ConfigError(f"{subject} must not be empty.")
    if forbidden and forbidden in name:
        raise ConfigError(
            f'{subject} {_shown(name)} must not contain "{forbidden}", which separates names; '
            "choose another name."
        )
    return check_text(subject, name, MAX_NAME_LENGTH)


def check_text(subject: str, text: str, max_length: int) -> str:
    """Return a string that can be encoded, and printed on one line.

    Raises:
        ConfigError: The string is too long, or holds a control character or a lone surrogate.
    """
    if len(text) > max_length:
        raise ConfigError(
            f"{subject} {_shown(text)} has {len(text)} characters; at most {max_length} are "
            "allowed. Choose a shorter one."
        )
    for character in text:
        if "\ud800" <= character <= "\udfff":
            raise ConfigError(
                f"{subject} {_shown(text)} holds the lone surrogate {character!r}, which cannot "
                "be encoded; remove it."
            )
        kind = _UNPRINTABLE.get(unicodedata.category(character))
        if kind is not None:
            raise ConfigError(
                f"{subject} {_shown(text)} holds the {kind} {character!r}; remove it."
            )
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."
