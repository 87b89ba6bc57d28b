"""Which status an error becomes, and how little is told of it."""

from __future__ import annotations

import pytest

from alacarte.errors import (
    BackPressureError,
    ConfigError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    RemoteError,
    ReplicaUnavailableError,
    RequestCancelledError,
    ServeError,
)
from alacarte_http._errors import answer_to


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (BackPressureError("secret#d", 9, 8, 0.2), 503, {b"retry-after": b"1"}),
        (BackPressureError("secret#d", 9, 8, 2.0), 503, {b"retry-after": b"2"}),
        (BackPressureError("secret#d", 9, 8, 2.1), 503, {b"retry-after": b"3"}),
        (BackPressureError("secret#d", 9, 8, -1), 503, {b"retry-after": b"0"}),
        (DeadlineExceededError("secret#d", 2.5), 504, {}),
        (DeploymentUnavailableError("secret#d", "secret reason"), 503, {}),
        (ReplicaUnavailableError("secret#d", "secret", "secret"), 503, {b"retry-safe": b"no"}),
        (ReplicaUnavailableError("secret#d", "secret", "secret", 3), 503, {b"retry-safe": b"no"}),
        (RequestCancelledError("secret"), 503, {}),
        (RemoteError("secret", "secret", "secret"), 500, {}),
        (NotFoundError("secret"), 500, {}),
        (ConfigError("secret"), 500, {}),
        (InternalError("secret"), 500, {}),
        (ServeError("secret"), 500, {}),
        (ValueError("secret"), 500, {}),
        (TimeoutError("secret"), 500, {}),
    ],
)
def test_statuses(error, status, headers):
    """Each error has its status; nothing of what it holds gets into the text."""
    answer = answer_to(error)
    assert answer.status == status
    assert dict(answer.headers) == headers
    assert "secret" not in answer.text
    assert answer.text


def test_a_clients_mistake_is_told():
    """What is wrong with a request is what its client can mend."""
    answer = answer_to(InvalidRequestError("secret#d", "the model id is empty"))
    assert (answer.status, answer.text) == (400, "the model id is empty")


def test_a_timeout_says_how_long():
    """The client learns what limit it ran into."""
    assert "within 2.5 s" in answer_to(DeadlineExceededError("a#d", 2.5)).text
