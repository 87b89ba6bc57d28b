"""Values that hooks return, checked against their annotations."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import pytest

from alacarte._plugins.results import mismatch
from alacarte.types import ApiName, Command, Layer, ResourceKind, StagedLayer


class Store(Protocol):
    name: str

    def get(self, key: str) -> bytes: ...


class Whole:
    name = "whole"

    def get(self, key: str) -> bytes:
        return b""


class Hidden:
    def __repr__(self) -> str:
        raise RuntimeError("not shown")


LAYER = Layer | StagedLayer[Layer] | None


@pytest.mark.parametrize(
    ("value", "expected", "wrong"),
    [
        ([ApiName("a", "b:c")], list[ApiName], ""),
        ((ApiName("a", "b:c"),), list[ApiName], ""),
        ([], list[ApiName], ""),
        (None, list[ApiName], "None instead of a list of ApiName"),
        (ApiName("a", "b:c"), list[ApiName], "instead of a list of ApiName"),
        ((each for each in ()), list[ApiName], "instead of a list of ApiName"),
        ([("a", "b:c")], list[ApiName], "a list with ('a', 'b:c') instead of ApiName"),
        ([Command("a", "b", "c:d")], list[ApiName], "instead of ApiName"),
        (["json"], list[str], ""),
        ([ModuleType("m")], list[ModuleType], ""),
        (Whole(), Store, ""),
        ([Whole()], list[Store], ""),
        (object(), Store, "which has no 'get' and so is not a Store"),
        ([object()], list[ResourceKind], "which has no 'expand' and so is not a ResourceKind"),
        (None, LAYER, ""),
        (lambda service: service, LAYER, ""),
        (StagedLayer("cache", print), LAYER, ""),
        (17, LAYER, "17 instead of callable or StagedLayer or None"),
        (None, None, ""),
        (3, None, "3 instead of None"),
        (3, Any, ""),
        (print, Callable[[], None], ""),
        (3, Callable[[], None], "3, which cannot be called"),
        (Hidden(), list[str], "a Hidden instead of a list of str"),
    ],
)
def test_values(value: object, expected: Any, wrong: str):
    """The message for a value that does not fit has the value and the expected type."""
    found = mismatch(value, expected)
    assert wrong in found
    assert bool(found) == bool(wrong)
