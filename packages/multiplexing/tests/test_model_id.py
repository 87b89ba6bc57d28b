from __future__ import annotations

import pytest

from alacarte.errors import InvalidRequestError
from alacarte.types import DeploymentId
from alacarte_multiplexing._model_id import MAX_BYTES, check_model_id

HERE = DeploymentId("app", "Model")


@pytest.mark.parametrize("model_id", ["a", "meta/llama:8b@2", "x" * MAX_BYTES, "modèle à 2"])
def test_what_is_an_id(model_id: str) -> None:
    """A printable string of up to 256 bytes is a valid id."""
    assert check_model_id(model_id, HERE) == model_id


@pytest.mark.parametrize(
    ("model_id", "told"),
    [
        ("", "names no model"),
        ("x" * (MAX_BYTES + 1), "257 bytes, the limit is 256"),
        ("é" * MAX_BYTES, "512 bytes"),
        ("a\nb", "unprintable"),
        ("a\x00", "unprintable"),
        ("\ud800", "unprintable"),
    ],
)
def test_what_is_none(model_id: str, told: str) -> None:
    """The error for an invalid id names the deployment, the problem and the limit."""
    with pytest.raises(InvalidRequestError, match=told) as caught:
        check_model_id(model_id, HERE)
    assert str(caught.value).startswith("app#Model: ")


@pytest.mark.parametrize("model_id", [None, 3, b"a"])
def test_an_id_is_text(model_id: object) -> None:
    """An id that is not a string is a TypeError: a mistake of the program, not of a client."""
    with pytest.raises(TypeError, match="must be a str"):
        check_model_id(model_id, HERE)
