"""Validation of model ids, which come from clients. Pure."""

from __future__ import annotations

from alacarte.errors import InvalidRequestError
from alacarte.types import DeploymentId

__all__ = ["MAX_BYTES", "check_model_id"]

MAX_BYTES = 256


def check_model_id(model_id: object, deployment: DeploymentId) -> str:
    """Return a model's id if it is valid.

    Raises:
        TypeError: The id is not a string.
        InvalidRequestError: The id is empty, too long, or contains unprintable characters.
    """
    if not isinstance(model_id, str):
        raise TypeError(f"{deployment}: the model id is {model_id!r}; it must be a str.")
    if not model_id:
        raise InvalidRequestError(
            str(deployment),
            "the request names no model; name one with handle.options(multiplexed_model_id=...) "
            "or the HTTP header serve_multiplexed_model_id.",
        )
    size = len(model_id) if model_id.isascii() else len(model_id.encode(errors="replace"))
    if size > MAX_BYTES:
        raise InvalidRequestError(
            str(deployment),
            f"the model id has {size} bytes, the limit is {MAX_BYTES}; use a shorter id.",
        )
    if not model_id.isprintable():
        raise InvalidRequestError(
            str(deployment),
            f"the model id {model_id!a} contains unprintable characters; use letters, digits, "
            "spaces and punctuation.",
        )
    return model_id
