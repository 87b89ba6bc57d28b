from __future__ import annotations

from typing import Any

import pytest

from alacarte.errors import ConfigError
from alacarte_endpoints._paths import check_methods, check_path


@pytest.mark.parametrize("path", ["/", "/a", "/a/b", "/v1.0/models:predict", "/-a"])
def test_good_paths(path: str) -> None:
    """A valid path is returned unchanged."""
    assert check_path("it", path) == path


@pytest.mark.parametrize(
    "path",
    ["", "a", "/a/", "/{a}", "/a b", "/a?b=1", "/a#b", "/-/routes", "/-", "/caf%C3%A9", "/\ud800"],
)
def test_bad_paths(path: str) -> None:
    """Invalid and reserved paths are refused."""
    with pytest.raises(ConfigError, match="it: the route "):
        check_path("it", path)


def test_a_path_is_text() -> None:
    """A path of another type is a TypeError."""
    with pytest.raises(TypeError, match="it: a route must be a string"):
        check_path("it", 3)


def test_methods() -> None:
    """Methods are returned in upper case, without duplicates, in order."""
    assert check_methods("it", ["get", "POST", "GET"]) == ("GET", "POST")


@pytest.mark.parametrize("methods", ["GET", 3, None, [1]])
def test_methods_of_another_kind(methods: Any) -> None:
    """Methods must be a list of strings, not a string."""
    with pytest.raises(TypeError, match="it: methods must be a list of strings"):
        check_methods("it", methods)


@pytest.mark.parametrize("methods", [[], ["G T"], [""]])
def test_methods_that_are_none(methods: list[str]) -> None:
    """Methods must be at least one word."""
    with pytest.raises(ConfigError, match="it: methods="):
        check_methods("it", methods)
