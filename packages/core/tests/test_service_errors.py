"""Node services unpickle no errors of replicas, since they receive foreign requests."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

from alacarte import serve
from alacarte._process.process_runtime import ProcessRuntime
from alacarte._wire.caller_connection import connect
from alacarte.calls import python_call
from alacarte.errors import RemoteError, ServeError
from alacarte.hookspecs import hookimpl
from alacarte.types import NodeServiceSpec

WAIT_S = 20.0
LOADED: list[str] = []
SERVICES: list[Service] = []


class Service:
    """A minimal node service, whose runtime the test uses for calls."""

    async def start(self, runtime: Any) -> dict[str, str]:
        self.runtime = runtime
        SERVICES.append(self)
        return {}

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        pass

    async def stop(self) -> None:
        pass


class Trap(Exception):
    """Records its unpickling."""

    def __reduce__(self) -> Any:
        return loaded, (str(self),)


def loaded(text: str) -> Exception:
    LOADED.append(text)
    return KeyError(text)


@serve.deployment
class Traps:
    """Raises in its `python` protocol, instead of replying with the error."""

    def __call__(self) -> None:
        raise Trap("sprung")


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch, observer: Any) -> None:
    """Register the service in the instance, and isolate its records from other tests."""
    LOADED.clear()
    SERVICES.clear()
    monkeypatch.setitem(sys.modules, "service_of_tests", sys.modules[__name__])

    @hookimpl
    def register_node_services() -> list[NodeServiceSpec]:
        return [NodeServiceSpec("errors", "service_of_tests:Service")]

    observer.register_node_services = register_node_services


def test_a_node_service_unpickles_no_error(local: Any) -> None:
    """An error that a handler raises past `respond` reaches a service as its structure alone.

    A handle of the driver gets the user's own exception, unpickled.
    """
    handle = local.run(Traps.bind())
    with pytest.raises(KeyError, match="sprung"):
        handle.call()
    LOADED.clear()  # the replica has tried it once, too
    [service] = SERVICES

    async def call() -> None:
        await service.runtime.service(handle.deployment)(python_call("__call__", (), {}))

    with pytest.raises(RemoteError, match="sprung") as caught:
        service.runtime.submit(call()).result(WAIT_S)
    assert caught.value.type_name == f"{__name__}.Trap"
    assert isinstance(caught.value, ServeError)
    assert LOADED == ["sprung"]  # once, in the replica: does it load at all?


@pytest.mark.parametrize("opens", [ProcessRuntime.__init__, connect], ids=["process", "connection"])
def test_whoever_opens_connections_says_how_errors_are_read(opens: Any) -> None:
    """`decode_error` has no default, so that no service unpickles errors by mistake."""
    parameter = inspect.signature(opens).parameters["decode_error"]
    assert parameter.default is parameter.empty
