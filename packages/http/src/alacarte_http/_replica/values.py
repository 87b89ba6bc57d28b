"""What user code returns, as an HTTP response: the table of Ray Serve's, for plain handlers."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import os
import uuid
from typing import Any

__all__ = ["encode_value"]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_PLAIN = (b"content-type", b"text/plain")


def encode_value(value: Any) -> tuple[bytes, tuple[bytes, bytes]]:
    """Return body and content type of a value.

    None is an empty body, bytes and str are sent as they are, all else as compact JSON.

    Raises:
        TypeError: It has no JSON form.
        ValueError: It holds NaN or an infinity, which JSON has not.
    """
    if isinstance(value, str):
        return value.encode(), _TEXT
    if value is None:
        return b"", _PLAIN
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), _PLAIN
    try:
        return _encode(value).encode(), _JSON
    except TypeError as error:
        if "keys must be" not in str(error):
            raise
        # `_default` is not asked about keys: look at every one.
        return _encode(_with_text_keys(value)).encode(), _JSON


def _default(value: Any) -> Any:
    """Return a JSON-able stand-in for a value that JSON does not know."""
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return _with_text_keys(convert(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return _with_text_keys(fields)
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a data frame
        return _with_text_keys(value.to_dict(orient="records"))
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, and what imitates them
        return value.tolist()
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        raise TypeError(
            "an HTTP handler returned a generator, which is not sent as a stream by itself: return "
            "starlette.responses.StreamingResponse(generator)."
        )
    if hasattr(value, "__dict__") and not callable(value):
        return _with_text_keys(vars(value))
    raise TypeError(
        f"an HTTP handler returned a {type(value).__qualname__}, which has no JSON form; return "
        "text, bytes, JSON-able values or a Starlette Response."
    )


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
    (uuid.UUID, str),
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
