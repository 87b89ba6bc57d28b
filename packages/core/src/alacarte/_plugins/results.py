"""Check the values that hooks return against their annotations. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["mismatch", "show_type"]


def mismatch(value: object, expected: object) -> str:
    """Return a description of a value that does not fit an annotation, "" for a fitting value.

    Checks each item of a list, the presence of a Protocol's members, and that a callable can be
    called. Any value fits an annotation of another form.

    Args:
        expected: The resolved annotation: `list[Command]`, `Callable[..., Any] | None`.
    """
    if expected is Any or isinstance(expected, str | typing.TypeVar):
        return ""
    if expected is None or expected is types.NoneType:
        return "" if value is None else f"{_show(value)} instead of None"
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(expected)
        if any(not mismatch(value, choice) for choice in choices):
            return ""
        return f"{_show(value)} instead of {show_type(expected)}"
    if origin is list:
        return _list_mismatch(value, typing.get_args(expected)[0])
    if _is_callable(expected):
        return "" if callable(value) else f"{_show(value)}, which cannot be called"
    if origin is not None:
        expected = origin
    if _is_protocol(expected):
        return _protocol_mismatch(value, expected)
    if isinstance(expected, type) and not isinstance(value, expected):
        return f"{_show(value)} instead of {show_type(expected)}"
    return ""


def _list_mismatch(value: object, item: object) -> str:
    if not isinstance(value, list | tuple):
        return f"{_show(value)} instead of a list of {show_type(item)}"
    wrong = (mismatch(each, item) for each in value)
    found = next(filter(None, wrong), "")
    return f"a list with {found}" if found else ""


def _protocol_mismatch(value: object, protocol: type) -> str:
    for name in sorted(_members(protocol)):
        member = getattr(value, name, None)
        if member is None and not hasattr(value, name):
            return f"{_show(value)}, which has no {name!r} and so is not a {show_type(protocol)}"
        if callable(getattr(protocol, name, None)) and not callable(member):
            return f"{_show(value)}, whose {name!r} cannot be called"
    return ""


def _is_callable(expected: object) -> bool:
    return Callable in (expected, typing.get_origin(expected))


def _is_protocol(kind: object) -> typing.TypeGuard[type]:
    return typing.Protocol in getattr(kind, "__bases__", ())


def _members(protocol: type) -> set[str]:
    bases = [base for base in protocol.__mro__ if _is_protocol(base)]
    names = {name for base in bases for name in (*vars(base), *_annotations(base))}
    return {name for name in names if not name.startswith("_")}


def _annotations(base: type) -> Mapping[str, object]:
    found: Mapping[str, object] = vars(base).get("__annotations__", {})
    return found


def show_type(expected: object) -> str:
    """Return an annotation in readable form: "ApiName or None"."""
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return " or ".join(map(show_type, typing.get_args(expected)))
    if expected is types.NoneType:
        return "None"
    if _is_callable(expected):
        return "callable"
    return str(getattr(expected, "__name__", expected))


def _show(value: object) -> str:
    """Return a value's repr, shortened, or its type when `__repr__` fails."""
    try:
        text = repr(value)
    except BaseException:  # a plugin's code
        text = f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."
