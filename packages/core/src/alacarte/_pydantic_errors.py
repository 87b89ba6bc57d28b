"""Single-line errors for invalid options, from pydantic's validation errors."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, get_args

from .errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["config_error"]


def config_error(
    subject: str, error: ValidationError, model: type[BaseModel], *, option: str = ""
) -> ConfigError:
    """Return an error with the subject, each invalid option, its value and the allowed values.

    Args:
        subject: The owner of the options, such as the name of a deployment.
        error: The validation error.
        model: The validated model, for the names of its options.
        option: The option with the model as its value, "" where the model holds the options.
    """
    reasons = "; ".join(_explain(each, model, option) for each in error.errors())
    return ConfigError(f"{subject}: {reasons}")


def _explain(detail: ErrorDetails, model: type[BaseModel], parent_option: str) -> str:
    path = detail["loc"]
    option = ".".join(map(str, [parent_option, *path] if parent_option else path))
    if detail["type"] == "extra_forbidden":
        parent = _model_at(model, path[:-1]) or model
        return f"{option} is not an option; allowed: {', '.join(parent.model_fields)}"
    rule = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not path and not parent_option:
        return rule
    if detail["type"] == "value_error" and _model_at(model, path):
        # The message of a rule about several fields names these fields.
        return f"{option}: {rule}"
    return f"{option}={reprlib.repr(detail['input'])} {rule}"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model at `path`, None for a value of another type."""
    found: type[BaseModel] | None = model
    for part in path:
        field = found.model_fields.get(str(part)) if found else None
        found = _model_in(field.annotation) if field else None
    return found


def _model_in(annotation: object) -> type[BaseModel] | None:
    choices = get_args(annotation) or (annotation,)
    return next((choice for choice in choices if hasattr(choice, "model_fields")), None)
