from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from alacarte.errors import ConfigError
from alacarte_cli.builder import parse_pairs, resolve_application


class Arguments(BaseModel):
    size: int
    name: str = "model"


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    """Values stay strings, with whatever equals signs they have."""
    assert parse_pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("word", ["a", "=1", ""])
def test_a_word_without_key_is_refused(word: str) -> None:
    """The word is named in the error."""
    with pytest.raises(ConfigError, match=f"'{word}' is not of the form key=value"):
        parse_pairs([word])


def test_an_application_is_taken_as_it_is(serve: Any) -> None:
    """A bound application needs no building."""
    app = serve.Application()
    assert resolve_application(app, {}, serve, "m:app") is app


def test_an_application_takes_no_arguments(serve: Any) -> None:
    """Arguments that nothing would read are an error, not ignored."""
    with pytest.raises(ConfigError, match=r"m:app is bound already .* \(size\)"):
        resolve_application(serve.Application(), {"size": "1"}, serve, "m:app")


def test_a_builder_gets_the_arguments_as_a_dict(serve: Any) -> None:
    """Without annotation the one parameter is a dict of strings."""
    app = serve.Application()
    seen = []

    def build(arguments):  # type: ignore[no-untyped-def]
        seen.append(arguments)
        return app

    assert resolve_application(build, {"size": "1"}, serve, "m:build") is app
    assert seen == [{"size": "1"}]


def test_a_builder_gets_the_model_it_is_annotated_with(serve: Any) -> None:
    """A pydantic annotation, even one kept as a string, validates and converts."""
    app = serve.Application()
    seen = []

    def build(arguments: Arguments) -> Any:
        seen.append(arguments)
        return app

    resolve_application(build, {"size": "3"}, serve, "m:build")
    assert seen == [Arguments(size=3)]


def test_arguments_a_model_refuses_are_named(serve: Any) -> None:
    """The error says which argument is wrong and why, in one line."""

    def build(arguments: Arguments) -> None: ...

    with pytest.raises(ConfigError, match=r"m:build: size: .*valid integer.*[^\n]$"):
        resolve_application(build, {"size": "big"}, serve, "m:build")


def test_a_builder_has_exactly_one_parameter(serve: Any) -> None:
    """More, fewer or keyword-only ones are an error that says so."""

    def two(first: dict[str, str], second: int) -> None: ...

    def keyword(*, arguments: dict[str, str]) -> None: ...

    for builder in (two, keyword, lambda: None):
        with pytest.raises(ConfigError, match="exactly one"):
            resolve_application(builder, {}, serve, "m:build")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "is of type int"),
        (Arguments, "is a class"),
        (lambda arguments: 3, "returned a value of type int"),
    ],
)
def test_anything_else_is_refused(serve: Any, target: object, message: str) -> None:
    """The error has the type of the object, and the allowed types."""
    with pytest.raises(ConfigError, match=rf"{message}.*result of \.bind\(\)"):
        resolve_application(target, {}, serve, "m:thing")


def test_an_unbound_deployment(serve: Any) -> None:
    """Forgetting `.bind()` has its own message."""
    with pytest.raises(ConfigError, match="bind it"):
        resolve_application(serve.Deployment(), {}, serve, "m:Model")


def test_what_a_builder_raises_passes_unchanged(serve: Any) -> None:
    """A builder's own exception is the user's, not ours."""

    def build(arguments: dict[str, str]) -> None:
        raise KeyError(arguments["size"])

    with pytest.raises(KeyError, match="9"):
        resolve_application(build, {"size": "9"}, serve, "m:build")
