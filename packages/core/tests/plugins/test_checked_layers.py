"""Failures of plugins' layers, as opposed to errors that only pass through a layer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from alacarte._plugins.checked_layers import checked_layer
from alacarte.errors import PluginError, RequestError
from alacarte.layers import compose
from alacarte.types import Call, Layer, Reply, Service, StagedLayer

REPLY = Reply((b"answer",))
CALL = Call("python", (b"",))


class Forbidden(RequestError):
    """An error that a layer raises as its answer."""


async def core(call: Call) -> Reply:
    return REPLY


async def broken(call: Call) -> Reply:
    raise KeyError("of the user")


def passes(service: Service) -> Service:
    async def serve(call: Call) -> Reply:
        return await service(call)

    return serve


def passes_by_a_task(service: Service) -> Service:
    async def serve(call: Call) -> Reply:
        return await asyncio.ensure_future(service(call))

    return serve


def gives(value: Any) -> Callable[[Service], Any]:
    def layer(service: Service) -> Any:
        async def serve(call: Call) -> Any:
            await service(call)
            return value

        return serve

    return layer


def raises(error: BaseException) -> Layer:
    def layer(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            raise error

        return serve

    return layer


def not_async(service: Service) -> Any:
    return lambda request: 17


def passes_on_a_number(service: Any) -> Service:
    async def serve(call: Call) -> Reply:
        return await service(17)  # type: ignore[no-any-return]

    return serve


def translates(service: Service) -> Service:
    async def serve(call: Call) -> Reply:
        try:
            return await service(call)
        except KeyError as error:
            raise ValueError("instead") from error

    return serve


def outcome(inner: Service, *layers: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Return the outcome of a call through layers, the first outermost, and the noted errors."""
    notes: list[tuple[str, str]] = []

    def checked(number: int, layer: Any) -> Layer:
        def note(error: BaseException) -> None:
            notes.append((f"layer {number}", type(error).__name__))

        made = checked_layer(layer, f"plugin p{number}: wrap_caller", note, note)
        return made.layer if isinstance(made, StagedLayer) else made

    service = compose(inner, [checked(number, layer) for number, layer in enumerate(layers)])

    async def ask() -> Any:
        try:
            return await service(CALL)
        except BaseException as error:
            return error

    return asyncio.run(ask()), notes


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (gives(17), "TypeError: it answered a call with 17 instead of a Reply"),
        (gives(None), "TypeError: it answered a call with None instead of a Reply"),
        (not_async, "TypeError: .*await"),
        (passes_on_a_number, "TypeError: it passed on 17 instead of a Call"),
        (raises(KeyError("x")), "KeyError: 'x'"),
        (raises(SystemExit(3)), "SystemExit: 3"),
        (StagedLayer("cache", gives(17)), "TypeError: .* instead of a Reply"),
    ],
)
def test_a_layer_that_fails_in_a_call_names_its_plugin(layer: Any, words: str):
    """The failure is noted once: layers around it pass the error on."""
    error, notes = outcome(core, passes, layer, passes)
    assert [where for where, _ in notes] == ["layer 1"]
    with pytest.raises(PluginError, match=f"^plugin p1: wrap_caller: the layer failed: {words}"):
        raise error


@pytest.mark.parametrize("layer", [passes, passes_by_a_task, gives(REPLY)])
def test_an_error_of_the_user_is_no_failure_of_a_layer(layer: Any):
    """An error of user code passes through layers unchanged."""
    error, notes = outcome(broken, layer, layer)
    assert (repr(error), notes) == ("KeyError('of the user')", [])
    assert outcome(core, layer, layer) == (REPLY, [])


@pytest.mark.parametrize("error", [Forbidden("x"), asyncio.CancelledError()])
def test_an_answer_of_a_layer_is_no_failure(error: BaseException):
    """A layer's own error, or a cancellation, is not noted as a failure."""
    got, notes = outcome(core, passes, raises(error))
    assert (type(got), notes) == (type(error), [])


def test_an_error_in_place_of_the_users_is_the_layers():
    """An error that a layer raises for the user's is the layer's failure, with both errors."""
    error, notes = outcome(broken, translates)
    assert notes == [("layer 0", "ValueError")]
    assert isinstance(error, PluginError)
    assert isinstance(error.__cause__, ValueError)
    assert isinstance(error.__cause__.__cause__, KeyError)
