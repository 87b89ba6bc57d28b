"""Rules for the names of applications, deployments and routes. Pure.

Names appear in log lines, headers, names of actors and the first message of a connection, whose
size is limited.
"""

from __future__ import annotations

import unicodedata

from ..errors import ConfigError

__all__ = ["MAX_NAME_LENGTH", "MAX_PATH_LENGTH", "check_name", "check_text"]

MAX_NAME_LENGTH = 200
"""In characters. Two names with four bytes per character fit into a HELLO of 4096 bytes."""
MAX_PATH_LENGTH = 2000
_UNPRINTABLE = {"Cc": "control character", "Zl": "line separator", "Zp": "line separator"}
_MAX_SHOWN = 40


def check_name(subject: str, name: object, *, forbidden: str = "") -> str:
    """Return a valid name.

    Args:
        subject: The kind of name, for errors: "application name".
        forbidden: A character that separates names of this kind from others.

    Raises:
        TypeError: The name is not a string.
        ConfigError: The name is empty or too long, or contains a forbidden character.
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
    """Return a valid string, which can be encoded and printed on one line.

    Raises:
        ConfigError: The string is too long, or contains a control character or a lone surrogate.
    """
    if len(text) > max_length:
        raise ConfigError(
            f"{subject} {_shown(text)} has {len(text)} characters; at most {max_length} are "
            "allowed. Choose a shorter one."
        )
    for character in text:
        if "\ud800" <= character <= "\udfff":
            raise ConfigError(
                f"{subject} {_shown(text)} contains the lone surrogate {character!r}, which cannot "
                "be encoded; remove it."
            )
        kind = _UNPRINTABLE.get(unicodedata.category(character))
        if kind is not None:
            raise ConfigError(
                f"{subject} {_shown(text)} contains the {kind} {character!r}; remove it."
            )
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."
