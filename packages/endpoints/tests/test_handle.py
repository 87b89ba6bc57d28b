from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from alacarte.errors import ConfigError
from alacarte_endpoints import EndpointHandle, ServeRequest


@dataclass(frozen=True)
class Calls:
    """A stand-in for the handle of alacarte-handles to the endpoint's route."""

    session_id: str = ""

    def options(self, *, session_id: str) -> Calls:
        return Calls(session_id)

    def remote(self, request: ServeRequest) -> tuple[str, ServeRequest]:
        return self.session_id, request


HANDLE = EndpointHandle("e", Calls())


def test_a_call_is_a_request() -> None:
    """Data and keyword arguments arrive separately."""
    assert HANDLE.remote() == ("", ServeRequest())
    _, request = HANDLE.remote([1], a=2)
    assert (request.data, request.args) == ([1], {"a": 2})


def test_options_add_up() -> None:
    """Options are kept until they are set again, and the first handle is unchanged."""
    handle = HANDLE.options(method_name="predict", shard_key="me")
    handle = handle.options(http_method="post", http_headers={"X-A": "b"})
    key, request = handle.remote()
    assert key == "me"
    assert request == ServeRequest(method="POST", headers={"x-a": "b"}, call_method="predict")
    assert HANDLE.remote() == ("", ServeRequest())


@pytest.mark.parametrize(
    "option", [{"method_name": 1}, {"shard_key": 7}, {"http_method": 1}, {"http_headers": {"a": 1}}]
)
def test_options_are_text(option: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match=f"the option {next(iter(option))} "):
        HANDLE.options(**option)


class Web:
    scope: Any = None
    receive: Any = None


def test_a_web_request_is_not_sent_on() -> None:
    """A web request cannot be forwarded; the error names the alternatives."""
    with pytest.raises(ConfigError, match="pass its content"):
        HANDLE.remote(Web())


def test_it_pickles() -> None:
    """A handle pickles with its options."""
    handle = HANDLE.options(method_name="predict", shard_key="me")
    assert pickle.loads(pickle.dumps(handle)) == handle
