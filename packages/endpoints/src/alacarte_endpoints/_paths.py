"""Checks of the paths and methods of endpoints and splits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from alacarte.errors import ConfigError
from alacarte.instance import check_path_text

__all__ = ["check_methods", "check_path"]

_PATH = re.compile(r"/|/[^{}?#%\s]*[^{}?#%\s/]")
_METHOD = re.compile(r"[A-Z]+")


def check_path(subject: str, path: object) -> str:
    """Return `path` where it is a valid path of requests.

    Raises:
        TypeError: The path is not a string.
        ConfigError: The path is invalid, or reserved for alacarte.
    """
    if not isinstance(path, str):
        raise TypeError(f"{subject}: a route must be a string, not {path!r}.")
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f'{subject}: the route {path!r} must begin with "/", must not end with "/" (except '
            '"/" itself), and must not contain braces, whitespace, "?", "#" or "%"; write it '
            "without percent-encoding."
        )
    if path == "/-" or path.startswith("/-/"):
        raise ConfigError(
            f"{subject}: the route {path!r} is reserved for alacarte; choose another route."
        )
    return check_path_text(f"{subject}: the route", path)


def check_methods(subject: str, methods: object) -> tuple[str, ...]:
    """Return HTTP methods in upper case, without duplicates.

    Raises:
        TypeError: The methods are not a list of strings.
        ConfigError: The list is empty, or a string is not a valid method.
    """
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise TypeError(f"{subject}: methods must be a list of strings, not {methods!r}.")
    given = list(methods)
    if not all(isinstance(method, str) for method in given):
        raise TypeError(f"{subject}: methods must be a list of strings, not {given!r}.")
    names = tuple(dict.fromkeys(method.upper() for method in given))
    invalid = [name for name in names if not _METHOD.fullmatch(name)]
    if invalid or not names:
        raise ConfigError(f'{subject}: methods={given!r} must be HTTP methods, such as ["GET"].')
    return names
