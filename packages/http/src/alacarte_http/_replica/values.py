"""What user code returns, as an HTTP response: the table of Ray Serve's, for plain handlers.

An object has a JSON form when its class declares one: a dataclass, a pydantic model, a mapping, a
collection, an array. Attributes of any other object are nobody's business, and are never sent.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any

__all__ = ["NoJsonFormError", "encode_value"]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_PLAIN = (b"content-type", b"text/plain")


class NoJsonFormError(TypeError):
    """A handler returned what HTTP cannot carry; the message says what, where, and what to do."""


def encode_value(value: Any, handler: str = "an HTTP handler") -> tuple[bytes, tuple[bytes, bytes]]:
    """Return body and content type of a value.

    None is an empty body, bytes and str are sent as they are, all else as compact JSON.

    Args:
        handler: Who returned it, for the error.

    Raises:
        NoJsonFormError: It has no JSON form.
        ValueError: It holds NaN or an infinity, which JSON has not.
    """
    if isinstance(value, str):
        return value.encode(), _TEXT
    if value is None:
        return b"", _PLAIN
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), _PLAIN
    try:
        return _encode_keys(value).encode(), _JSON
    except _Refused as refused:
        found, reason = refused.args
        raise NoJsonFormError(
            f"{handler} returned {_name(found)}{_place(value, found)}{reason}"
        ) from None


def _encode_keys(value: Any) -> str:
    try:
        return _encode(value)
    except TypeError as error:
        if "keys must be" not in str(error):
            raise
        # `_default` is not asked about keys: look at every one.
        return _encode(_with_text_keys(value))


class _Refused(Exception):
    """The encoder met this value, which has no JSON form, and this is why."""


def _default(value: Any) -> Any:
    """Return a JSON-able stand-in for a value that JSON does not know."""
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return _with_text_keys(convert(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _with_text_keys(dict(_fields(value)))
    if isinstance(value, type):
        raise _Refused(value, _ADVICE)
    kind = type(value)  # an object with `__getattr__`, such as a handle, has any attribute
    if hasattr(kind, "model_dump"):  # pydantic
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(kind, "__fields__") and hasattr(kind, "parse_obj"):  # pydantic, version 1
        return _with_text_keys(value.dict(by_alias=True))
    if hasattr(kind, "to_dict") and hasattr(kind, "columns"):  # a data frame
        return _with_text_keys(value.to_dict(orient="records"))
    if hasattr(kind, "tolist"):  # NumPy arrays and scalars, and what imitates them
        return value.tolist()
    if isinstance(value, Mapping):
        return _with_text_keys(dict(value))
    if isinstance(value, _COLLECTIONS):
        return _with_text_keys(list(value))
    raise _Refused(value, _reason(value))


def _reason(value: Any) -> str:
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody awaited it, as this says better
    if inspect.isawaitable(value):
        return ": did you forget `await`? Return the result (in a plain `def`, response.result())."
    if hasattr(type(value), "__next__") or hasattr(type(value), "__anext__"):
        return (
            ", which is not sent as a stream by itself: return "
            "starlette.responses.StreamingResponse(generator)."
        )
    return _ADVICE


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public fields of a dataclass, as pydantic takes those of a model."""
    for field in dataclasses.fields(value):
        if not field.name.startswith("_"):
            yield field.name, getattr(value, field.name)


_ADVICE = (
    ", which has no JSON form; return text, bytes, JSON-able values (dicts, lists, numbers, "
    "dataclasses, pydantic models, arrays) or a Starlette Response."
)
_COLLECTIONS = (Sequence, Set, ValuesView)

_encode = json.JSONEncoder(
    default=_default, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode

_CONVERSIONS: tuple[tuple[Any, Any], ...] = (
    (BaseException, str),
    (enum.Enum, lambda value: value.value),
    ((set, frozenset), list),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (decimal.Decimal, lambda value: int(value) if value == value.to_integral() else float(value)),
    ((bytes, bytearray), lambda value: value.decode()),
    ((uuid.UUID, collections.UserString), str),
    (os.PathLike, os.fspath),
)


def _with_text_keys(value: Any) -> Any:
    """Return a copy of dicts and lists in each other with keys that JSON knows; else `value`."""
    if isinstance(value, dict):
        return {_key(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_text_keys(item) for item in value]
    return value


def _key(key: Any) -> Any:
    if isinstance(key, enum.Enum):
        return key.value
    return key if isinstance(key, str | int | float | None) else str(key)


# --- what the error says ----------------------------------------------------------------


def _name(value: Any) -> str:
    """Return what a value is, as its owner would say."""
    if inspect.iscoroutine(value):
        return f"a coroutine of {value.__qualname__}()"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"a generator of {value.__qualname__}()"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if inspect.isroutine(value):
        return f"the function {value.__qualname__}()"
    name = type(value).__qualname__
    return "a bare object()" if name == "object" else f"an object of type {name}"


def _place(root: Any, found: Any) -> str:
    """Return where in a value another one is, such as ` at ["a"][0]`; "" for the value itself."""
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        place, value = waiting.pop()
        if value is found:
            return f" at {place}" if place else ""
        for part, child in _children(value):
            if id(child) not in seen or child is found:
                seen.add(id(child))
                waiting.append((place + part, child))
    return " inside of another value"


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, _COLLECTIONS) and not isinstance(value, str | bytes | bytearray):
        return [(f"[{index}]", child) for index, child in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{name}", child) for name, child in _fields(value)]
    return []
