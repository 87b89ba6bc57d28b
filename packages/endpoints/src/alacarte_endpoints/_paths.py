"""Paths that endpoints and splits may have. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from alacarte.errors import ConfigError
from alacarte.instance import check_path_text

__all__ = ["check_methods", "check_path"]

_PATH = re.compile(r"/|/[^{}?#%\s]*[^{}?#%\s/]")
_METHOD = re.compile(r"[A-Z]+")


def check_path(whose: str, path: object) -> str:
    """Return a path.

    Raises:
        TypeError: It is no text.
        ConfigError: It cannot be the path of a request, or is alacarte's own.
    """
    if not isinstance(path, str):
        raise TypeError(f"{whose}: a route must be a string, not {path!r}.")
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f'{whose}: the route {path!r} must begin with "/", not end with one (but for "/" '
            "itself), and hold no braces, blanks, ?, # or %; it is written as it reads decoded."
        )
    if path == "/-" or path.startswith("/-/"):
        raise ConfigError(f"{whose}: the route {path!r} is alacarte's own; choose another.")
    return check_path_text(f"{whose}: the route", path)


def check_methods(whose: str, methods: object) -> tuple[str, ...]:
    """Return HTTP methods in upper case, each once.

    Raises:
        TypeError: They are no list of strings.
        ConfigError: There is none, or one that cannot be a method.
    """
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise TypeError(f"{whose}: methods must be a list of strings, not {methods!r}.")
    given = list(methods)
    if not all(isinstance(method, str) for method in given):
        raise TypeError(f"{whose}: methods must be a list of strings, not {given!r}.")
    names = tuple(dict.fromkeys(method.upper() for method in given))
    wrong = [name for name in names if not _METHOD.fullmatch(name)]
    if wrong or not names:
        raise ConfigError(f'{whose}: methods={given!r} must be HTTP methods, such as ["GET"].')
    return names
