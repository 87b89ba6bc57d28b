"""Say in one line what is wrong with an option, instead of in a pydantic report."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any, get_args

from .errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["config_error"]


def config_error(
    subject: str, error: ValidationError, model: type[BaseModel], *, option: str = ""
) -> ConfigError:
    """Return one error that names the subject, each option, its value and what is allowed.

    Args:
        subject: Whose options they are, a deployment's name for example.
        error: What pydantic found.
        model: The model that was being filled; it knows which names are allowed.
        option: The option whose value the model is, "" where the model holds the options.
    """
    words = "; ".join(_explain(each, model, option) for each in error.errors())
    return ConfigError(f"{subject}: {words}")


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
        # A rule about several fields names those that matter itself.
        return f"{option}: {rule}"
    return f"{option}={reprlib.repr(detail['input'])} {rule}"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that stands at `path`, None when something else does."""
    here: type[BaseModel] | None = model
    for part in path:
        field = here.model_fields.get(str(part)) if here else None
        here = _model_in(field.annotation) if field else None
    return here


def _model_in(annotation: Any) -> type[BaseModel] | None:
    choices = get_args(annotation) or (annotation,)
    return next((choice for choice in choices if hasattr(choice, "model_fields")), None)
