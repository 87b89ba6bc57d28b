"""Changes of resources with concurrent changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from alacarte.errors import ConfigError, ConflictError
from alacarte.types import Resource
from alacarte_endpoints._changes import change, with_share


class Store:
    """The resources of an instance, with concurrent changes just before ours."""

    def __init__(self, spec: Any, others: Sequence[Callable[[Any], Any]] = ()) -> None:
        self.spec = spec
        self.others = list(others)

    def read(self) -> Any:
        return self.spec

    def apply(self, new: Resource, *, expected: Sequence[Resource | None]) -> None:
        if self.others:
            self.spec = self.others.pop(0)(self.spec)
        [current] = expected
        if self.spec != (None if current is None else current.spec):
            raise ConflictError(new.kind, new.name)
        self.spec = new.spec


def add(member: str) -> Callable[[Any], Any]:
    return lambda spec: {*(spec or ()), member}


@pytest.mark.parametrize("spec", [None, {"old"}])
def test_nobody_s_change_is_lost(spec: Any) -> None:
    """A change is repeated after a concurrent change or creation."""
    store: Any = Store(spec, [add("theirs"), add("another")])
    change(store, "endpoint", "e", store.read, add("ours"))
    assert store.spec == {*(spec or ()), "theirs", "another", "ours"}


def test_a_change_that_has_become_wrong() -> None:
    """The error of a repeated change ends the change, and the concurrent change stays."""

    def refuse(spec: Any) -> Any:
        if "theirs" in spec:
            raise ConfigError("not beside theirs")
        return {*spec, "ours"}

    store: Any = Store(set(), [add("theirs")])
    with pytest.raises(ConfigError, match="not beside theirs"):
        change(store, "endpoint", "e", store.read, refuse)
    assert store.spec == {"theirs"}


def test_nothing_to_change() -> None:
    """A change to None leaves the resource unchanged."""
    store: Any = Store({"old"}, [add("theirs")])
    change(store, "endpoint", "e", store.read, lambda spec: None)
    assert store.spec == {"old"}


def test_somebody_who_is_always_faster() -> None:
    """A change with too many conflicts raises ConflictError."""
    store: Any = Store(set(), [add(str(n)) for n in range(1000)])
    with pytest.raises(ConflictError, match="endpoint 'e' was changed by another program"):
        change(store, "endpoint", "e", store.read, add("ours"))


def test_shares_of_shadows() -> None:
    """A share is added, changed and removed; other shares stay."""
    assert with_share({}, "a", 0.5) == {"a": 0.5}
    assert with_share({"a": 0.5, "b": 1.0}, "a", 0.1) == {"a": 0.1, "b": 1.0}
    assert with_share({"a": 0.5, "b": 1.0}, "a", 0.0) == {"b": 1.0}
