"""Build an application from the object at an import path, and `key=value` arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from alacarte.errors import ConfigError

from .facade import Facade

__all__ = ["parse_pairs", "resolve_application"]


def parse_pairs(words: Iterable[str]) -> dict[str, str]:
    """Return `key=value` arguments as a dict of strings.

    Raises:
        ConfigError: An argument has no `=`.
    """
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigError(f"argument {word!r} is not of the form key=value.")
        pairs[key] = value
    return pairs


def resolve_application(
    target: object, arguments: dict[str, str], serve: Facade, import_path: object
) -> object:
    """Return `target` if it is an application, or the application that a builder returns.

    A builder is a function with one parameter: a dict, or a pydantic model by its annotation.

    Args:
        target: The object at the import path.
        arguments: Arguments of the builder.
        serve: The facade, with the class of applications.
        import_path: The import path, for messages.

    Raises:
        ConfigError: The target is neither, or the arguments do not fit. Errors of a builder pass
            unchanged.
    """
    if isinstance(target, serve.Application):
        if arguments:
            raise ConfigError(
                f"{import_path} is bound already and takes no arguments ({', '.join(arguments)}); "
                "name a function that builds the application from them."
            )
        return target
    if isinstance(target, serve.Deployment):
        name = str(import_path).rpartition(":")[2]
        raise ConfigError(
            f"{import_path} is a deployment, not an application; bind it: app = {name}.bind(...)."
        )
    if isinstance(target, type) or not callable(target):
        what = "a class" if isinstance(target, type) else f"of type {type(target).__name__}"
        raise ConfigError(
            f"{import_path} is {what}; it must be an application (the result of .bind()) or a "
            "function that builds one."
        )
    built = target(_argument(target, arguments, import_path))
    if not isinstance(built, serve.Application):
        raise ConfigError(
            f"{import_path} returned a value of type {type(built).__name__}; "
            "a builder must return an application (the result of .bind())."
        )
    return built


def _argument(builder: Callable[..., Any], arguments: dict[str, str], import_path: object) -> Any:
    from pydantic import BaseModel, ValidationError  # slow to import, and only needed here

    parameters = list(_signature(builder).parameters.values())
    if len(parameters) != 1 or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ConfigError(
            f"{import_path} takes {len(parameters)} parameters; "
            "a builder takes exactly one, a dict or a pydantic model."
        )
    model = parameters[0].annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return arguments
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or model.__name__}: {detail['msg']}"
            for detail in error.errors()
        )
        raise ConfigError(f"arguments of {import_path}: {wrong}.") from error


def _signature(builder: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(builder, eval_str=True)
    except Exception:  # annotations may use names that only a type checker imports
        return inspect.signature(builder)
