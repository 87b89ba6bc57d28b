from __future__ import annotations

import pickle
from typing import Any

import pytest

from alacarte.errors import ServeError
from alacarte_endpoints import Arguments, ServeRequest
from alacarte_endpoints._request import called_method


@pytest.mark.parametrize(
    ("data", "body", "value"),
    [
        (None, b"", None),
        ("[1]", b"[1]", [1]),
        (b"[1]", b"[1]", [1]),
        ({"a": 1}, b'{"a": 1}', {"a": 1}),
        ([1, 2], b"[1, 2]", [1, 2]),
    ],
)
async def test_it_reads_as_a_web_request(data: Any, body: bytes, value: Any) -> None:
    """Data are available as bytes and as a value, as a body and its JSON."""
    request = ServeRequest(data)
    assert request.data is data
    assert await request.body() == body
    assert await request.json() == value


async def test_a_form_is_a_dict() -> None:
    """Form fields are read by name; data without fields are an error."""
    form = await ServeRequest({"a": [1, 2]}).form()
    assert form.getlist("a") == [1, 2]
    with pytest.raises(ServeError, match="form\\(\\) requires a dict"):
        await ServeRequest([1]).form()


def test_arguments_are_read_as_a_query() -> None:
    """Arguments keep their values, and have lists of values."""
    args = Arguments(a=1, b=[1, 2])
    request = ServeRequest(args=args)
    assert request.query_params is request.args is args
    assert (args["a"], args.get("b"), args.get("c")) == (1, [1, 2], None)
    assert (args.getlist("a"), args.getlist("b"), args.getlist("c")) == ([1], [1, 2], [])


def test_it_pickles() -> None:
    """A request pickles unchanged."""
    request = ServeRequest(1, Arguments(a=1), "POST", {"x": "y"}, "predict")
    assert pickle.loads(pickle.dumps(request)) == request


class Web:
    """A stand-in for a Starlette request, which the http package creates."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.scope = {"headers": headers}


def test_the_method_that_is_asked_for() -> None:
    """The method is named by a handle's option or by a header; the default is `__call__`."""
    assert called_method(ServeRequest()) == "__call__"
    assert called_method(ServeRequest(call_method="predict")) == "predict"
    assert called_method(Web()) == "__call__"
    assert called_method(Web((b"host", b"a"), (b"x-serve-call-method", b"predict"))) == "predict"
