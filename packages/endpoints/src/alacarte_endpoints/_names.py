"""Names, and how errors list them."""

from __future__ import annotations

from collections.abc import Iterable

from alacarte.errors import ConfigError

__all__ = ["check_name", "check_text", "listed"]


def check_name(what: str, name: object) -> str:
    """Return a name.

    Raises:
        TypeError: It is no text.
        ConfigError: It cannot be a name.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string, not {name!r}.")
    if not name or "#" in name or name.startswith("/"):
        raise ConfigError(
            f'{what} must not be empty, contain "#" or begin with "/", as paths do; got {name!r}.'
        )
    return check_text(what, name)


def check_text(what: str, text: str) -> str:
    """Return a text that can be encoded.

    Raises:
        ConfigError: It holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what} holds half a character: {text!r}.") from None
    return text


def listed(names: Iterable[str]) -> str:
    """Return names as an error tells them."""
    return ", ".join(map(repr, names)) or "none"
