"""What may be the id of a model. Ids come from clients, so they are checked before use. Pure."""

from __future__ import annotations

from typing import Any

from alacarte.errors import InvalidRequestError
from alacarte.types import DeploymentId

__all__ = ["MAX_BYTES", "checked"]

MAX_BYTES = 256


def checked(model_id: Any, deployment: DeploymentId) -> str:
    """Return a model's id if it is one.

    Raises:
        TypeError: It is no text.
        InvalidRequestError: It is empty, too long, or holds what cannot be printed.
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
            str(deployment), f"the model id has {size} bytes; {MAX_BYTES} are allowed."
        )
    if not model_id.isprintable():
        raise InvalidRequestError(
            str(deployment),
            f"the model id {model_id!a} holds what cannot be printed; use letters, digits, "
            "spaces and punctuation.",
        )
    return model_id
