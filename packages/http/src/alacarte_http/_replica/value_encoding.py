"""Encoding of a plain handler's result as an HTTP body, compatible with Ray Serve.

An object has a JSON form if its class declares one: a dataclass, a pydantic model, a mapping, a
collection, an array. The attributes of any other object are private, and never sent.
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
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["NoJsonFormError", "encode_value"]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_PLAIN = (b"content-type", b"text/plain")


class NoJsonFormError(TypeError):
    """A handler returned a value without a JSON form."""


def encode_value(
    value: object, handler: str = "an HTTP handler"
) -> tuple[bytes, tuple[bytes, bytes]]:
    """Return the body and the content type of a value.

    None becomes an empty body, bytes and strings are sent unchanged, other values as compact JSON.

    Args:
        handler: Name of the handler, for error messages.

    Raises:
        NoJsonFormError: The value has no JSON form.
        ValueError: The value contains NaN or an infinity, which JSON does not support.
    """
    if isinstance(value, str):
        return value.encode(), _TEXT
    if value is None:
        return b"", _PLAIN
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), _PLAIN
    try:
        return _encode_keys(value).encode(), _JSON
    except _NoJsonForm as refused:
        found, reason = refused.args
        raise NoJsonFormError(
            f"{handler} returned {_describe(found)}{_find_path(value, found)}{reason}"
        ) from None


def _encode_keys(value: object) -> str:
    try:
        return _encode(value)
    except TypeError as error:
        if "keys must be" not in str(error):
            raise
        # The encoder does not call `_default` for keys.
        return _encode(_with_text_keys(value))


class _NoJsonForm(Exception):
    """A value without a JSON form, and the reason; raised inside the encoder."""


def _default(value: Any) -> object:
    """Return a JSON-compatible replacement for a value of another type."""
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return _with_text_keys(convert(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _with_text_keys(dict(_fields(value)))
    if isinstance(value, type):
        raise _NoJsonForm(value, _ADVICE)
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
    raise _NoJsonForm(value, _reason(value))


def _reason(value: object) -> str:
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that the coroutine was never awaited
    if inspect.isawaitable(value):
        return ": did you forget `await`? Return the result (in a plain `def`, response.result())."
    if hasattr(type(value), "__next__") or hasattr(type(value), "__anext__"):
        return (
            ", which is not streamed automatically. Return "
            "starlette.responses.StreamingResponse(generator)."
        )
    return _ADVICE


def _fields(value: DataclassInstance) -> Iterator[tuple[str, object]]:
    """Yield the public fields of a dataclass, the fields that pydantic would include."""
    for field in dataclasses.fields(value):
        if not field.name.startswith("_"):
            yield field.name, getattr(value, field.name)


_ADVICE = (
    ", which has no JSON form. Return a string, bytes, a JSON-compatible value (dict, list, "
    "number, dataclass, pydantic model, array) or a Starlette Response."
)
_COLLECTIONS = (Sequence, Set, ValuesView)

_encode = json.JSONEncoder(
    default=_default, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode

_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
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


def _with_text_keys(value: object) -> object:
    """Return a copy of nested dicts and lists with keys that JSON supports; else `value`."""
    if isinstance(value, dict):
        return {_json_key(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_text_keys(item) for item in value]
    return value


def _json_key(key: object) -> object:
    if isinstance(key, enum.Enum):
        return key.value
    return key if isinstance(key, str | int | float | None) else str(key)


# --- error messages ---------------------------------------------------------------------


def _describe(value: object) -> str:
    """Return a description of a value for an error message."""
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


def _find_path(root: object, found: object) -> str:
    """Return the path to a value within another, such as ` at ["a"][0]`; "" for the root."""
    pending: list[tuple[str, object]] = [("", root)]
    seen = {id(root)}
    while pending:
        path, value = pending.pop()
        if value is found:
            return f" at {path}" if path else ""
        for part, child in _children(value):
            if id(child) not in seen or child is found:
                seen.add(id(child))
                pending.append((path + part, child))
    return " inside another value"


def _children(value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, _COLLECTIONS) and not isinstance(value, str | bytes | bytearray):
        return [(f"[{index}]", child) for index, child in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{name}", child) for name, child in _fields(value)]
    return []
