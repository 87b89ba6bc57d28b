"""Every error of every package travels between processes and tells the same on arrival."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pickle
from typing import Any

import cloudpickle
import pytest

from alacarte import errors

PACKAGES = [
    "alacarte",
    "alacarte_autoscaling",
    "alacarte_batching",
    "alacarte_cli",
    "alacarte_endpoints",
    "alacarte_handles",
    "alacarte_http",
    "alacarte_multiplexing",
]
SAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 3,
    "float": 0.5,
    "bool": True,
    "Any": "text",
    "tuple[str, ...]": ("one", "two"),
    "dict[str, str]": {"one": "text"},
    "Mapping[str, object]": {"one": "text"},
    "ErrorCode": errors.ErrorCode.NOT_FOUND,
}


def kinds() -> list[type[errors.ServeError]]:
    """Return all error types of ours: each package keeps them in its module `errors`."""
    for package in PACKAGES:
        if importlib.util.find_spec(f"{package}.errors"):
            importlib.import_module(f"{package}.errors")
    found: list[type[errors.ServeError]] = [errors.ServeError]
    for kind in found:
        found += [each for each in kind.__subclasses__() if each not in found]
    return [kind for kind in found if kind.__module__.split(".")[0] in PACKAGES]


def sample(kind: type[errors.ServeError]) -> errors.ServeError:
    """Build an error from its own signature, with a value of each parameter's type."""
    values = [
        SAMPLES[str(parameter.annotation).split(" | ")[0]]
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self"
    ]
    return kind(*(values or ["text"]))


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_errors_pickle(kind: type[errors.ServeError], pickler: Any):
    """An error arrives with its type, its attributes and its message."""
    error = sample(kind)
    error.add_note("seen on the way")
    arrived = pickle.loads(pickler.dumps(error))
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)
    assert str(arrived) == str(error)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_errors_say_something(kind: type[errors.ServeError]):
    """An error's message holds what it was given, and its class says what it means."""
    assert str(sample(kind)).strip()
    assert (inspect.getdoc(kind) or "").strip()


def test_core_lists_its_errors():
    """`alacarte.errors` exports each error that it defines."""
    defined = {kind.__name__ for kind in kinds() if kind.__module__ == "alacarte.errors"}
    assert defined | {"ErrorCode", "RayServeException", "request_code"} == set(errors.__all__)
