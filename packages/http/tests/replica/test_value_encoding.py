"""Encoding of handlers' results, compatible with Ray Serve."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import types
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pydantic.v1
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers, QueryParams

from alacarte_http._replica.value_encoding import NoJsonFormError, encode_value


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Model(pydantic.BaseModel):
    name: str
    when: datetime.date
    inner: list[Model] = []


class Aliased(pydantic.BaseModel):
    value: int = pydantic.Field(alias="theValue")


class OldModel(pydantic.v1.BaseModel):
    """A pydantic model of version 1."""

    value: Any
    _secret: str = pydantic.v1.PrivateAttr("secret")


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Hidden:
    x: int
    _secret: str = "secret"


class Plain:
    """An ordinary object of the user."""

    def __init__(self) -> None:
        self.a = 1
        self.b = [Point(2)]


def as_json(value: Any) -> Any:
    body, content_type = encode_value(value)
    assert content_type == (b"content-type", b"application/json")
    return json.loads(body)


@pytest.mark.parametrize(
    ("value", "body", "content_type"),
    [
        (None, b"", b"text/plain"),
        (b"\x00\xff", b"\x00\xff", b"text/plain"),
        (bytearray(b"ab"), b"ab", b"text/plain"),
        (memoryview(b"ab"), b"ab", b"text/plain"),
        ("grüß", "grüß".encode(), b"text/plain; charset=utf-8"),
        ("", b"", b"text/plain; charset=utf-8"),
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}', b"application/json"),
        (["é"], '["é"]'.encode(), b"application/json"),
        (0, b"0", b"application/json"),
        (False, b"false", b"application/json"),
        ([], b"[]", b"application/json"),
    ],
)
def test_plain_values(value, body, content_type):
    """None is empty, bytes and strings are sent unchanged, other values as compact JSON."""
    assert encode_value(value) == (body, (b"content-type", content_type))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(json_values) | st.dictionaries(words, json_values))
def test_json_comes_back(value):
    """JSON values arrive equal."""
    assert as_json(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.array([0.5, 1.5], dtype=np.float32), [0.5, 1.5]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([]), []),
        (np.array(3), 3),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.datetime64("2024-05-06"), "2024-05-06"),
        ({"scores": np.array([1, 2]), "best": np.int32(1)}, {"scores": [1, 2], "best": 1}),
        ([np.array([[1]])], [[[1]]]),
        ({np.int64(1): 2}, {"1": 2}),
    ],
)
def test_numpy(value, expected):
    """NumPy arrays become lists and scalars numbers, at any depth."""
    assert as_json(value) == expected


def test_numpy_text():
    """NumPy's strings are strings."""
    assert encode_value(np.str_("a")) == (b"a", (b"content-type", b"text/plain; charset=utf-8"))


def test_pandas():
    """A data frame becomes records, a series values, and timestamps ISO 8601."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert as_json(frame) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert as_json({"frame": frame}) == {"frame": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}
    assert as_json(pd.Series([1, 2])) == [1, 2]
    assert as_json(pd.DataFrame({"t": [pd.Timestamp("2024-05-06")]})) == [
        {"t": "2024-05-06T00:00:00"}
    ]
    assert as_json(pd.DataFrame({1: [2]})) == [{"1": 2}]
    assert as_json(pd.DataFrame()) == []


WHEN = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Color.RED, "red"),
        ({"c": Color.RED, "l": Level.LOW}, {"c": "red", "l": 1}),
        ({Color.RED: 1}, {"red": 1}),
        ({"in": {Color.RED: 1}}, {"in": {"red": 1}}),
        ([{np.int64(1): {(1, 2): 3}}], [{"1": {"(1, 2)": 3}}]),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        ([Point(np.int64(1), {"k": Color.RED})], [{"x": 1, "y": {"k": "red"}}]),
        (Pair(1, 2), [1, 2]),
        (Hidden(1), {"x": 1}),
        (QueryParams("a=b&c=d&c=e"), {"a": "b", "c": "e"}),
        (Headers({"x-a": "1"}), {"x-a": "1"}),
        ({"in": types.MappingProxyType({Color.RED: 1})}, {"in": {"red": 1}}),
        (collections.deque([Point(1)]), [{"x": 1, "y": None}]),
        (collections.UserString("ab"), "ab"),
        ({1: 2}.values(), [2]),
        ({"a": 2}.keys(), ["a"]),
        (range(3), [0, 1, 2]),
        ({1, 2}, [1, 2]),
        (frozenset([3]), [3]),
        (WHEN, "2024-05-06T07:08:09+00:00"),
        (WHEN.date(), "2024-05-06"),
        (datetime.time(7, 8), "07:08:00"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (decimal.Decimal("1.5"), 1.5),
        (decimal.Decimal("15"), 15),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        ({"raw": b"text"}, {"raw": "text"}),
        (ValueError("why"), "why"),
        ([KeyError("k")], ["'k'"]),
        (
            Model(name="n", when=WHEN.date(), inner=[Model(name="m", when=WHEN.date())]),
            {
                "name": "n",
                "when": "2024-05-06",
                "inner": [{"name": "m", "when": "2024-05-06", "inner": []}],
            },
        ),
        ({"model": [Aliased(theValue=1)]}, {"model": [{"theValue": 1}]}),
        (
            {"model": [OldModel(value={1: WHEN.date()})]},
            {"model": [{"value": {"1": "2024-05-06"}}]},
        ),
    ],
)
def test_types_without_a_json_equivalent(value, expected):
    """Other types have FastAPI's encoding, at any depth."""
    assert as_json(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("inf")],
        {"a": -float("inf")},
        np.array([np.nan]),
        np.float32("nan"),
        pd.DataFrame({"a": [1.0, None]}),
        decimal.Decimal("NaN"),
    ],
)
def test_not_a_number(value):
    """NaN and infinities raise: JSON does not support them."""
    with pytest.raises(ValueError, match=r"(?i)nan|inf|JSON"):
        encode_value(value)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize("make", [generator, async_generator, lambda: iter([1])])
def test_generators(make):
    """A generator's error says to return a StreamingResponse, at any depth."""
    for value in (make(), {"items": make()}):
        with pytest.raises(TypeError, match=r"StreamingResponse\(generator\)"):
            encode_value(value)


async def predict() -> int:
    return 1


class Response:
    """A stand-in for a handle's response: an awaitable with attributes."""

    def __init__(self) -> None:
        self.secret = "secret"

    def __await__(self) -> Any:
        yield


class Handle:
    """A stand-in for a handle: every attribute is a remote method."""

    def __getattr__(self, name: str) -> Any:
        return Handle()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Handle(), "returned an object of type Handle, which"),
        (object(), r"returned a bare object\(\), which"),
        (lambda: 1, r"returned the function <lambda>\(\), which"),
        (Plain, "returned the class Plain, which"),
        (Plain(), "returned an object of type Plain, which"),
        ({"f": len}, r"returned the function len\(\) at \[\'f\'\], which"),
        (1j, "returned an object of type complex, which"),
        ({"a": [0, Point(1, Plain())]}, r"type Plain at \['a'\]\[1\]\.y, which"),
        ([{1, 2}, {(1, 2): {"b": Plain()}}], r"type Plain at \[1\]\[\(1, 2\)\]\['b'\], which"),
    ],
)
def test_no_json_form(value, named):
    """The error names the handler, the object, its place, and what may be returned."""
    with pytest.raises(NoJsonFormError, match=named) as caught:
        encode_value(value, "default#Model: Model.__call__ (model.py:3)")
    assert str(caught.value).startswith("default#Model: Model.__call__ (model.py:3) returned")
    assert "has no JSON form. Return a string, bytes, a JSON-compatible value" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (predict, r"returned a coroutine of predict\(\)"),
        (Response, "returned an object of type Response"),
        (lambda: {"a": [predict()]}, r"returned a coroutine of predict\(\) at \['a'\]\[0\]"),
    ],
)
def test_a_forgotten_await(make, named):
    """A forgotten await is named, and Python does not warn of the coroutine as well."""
    with pytest.raises(NoJsonFormError, match=named + ": did you forget `await`"):
        encode_value(make())


def test_a_value_that_holds_itself():
    """A circular value raises an error."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        encode_value(value)
