"""Which answer an error becomes. The only place that maps errors to HTTP."""

from __future__ import annotations

import math
from typing import NamedTuple

from alacarte.errors import (
    BackPressureError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    InvalidRequestError,
    ReplicaUnavailableError,
    RequestCancelledError,
)

__all__ = ["Answer", "answer_to"]

TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Answer(NamedTuple):
    """A short answer of the proxy's own."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def answer_to(error: BaseException) -> Answer:
    """Return what a client is told of an error. Nothing internal, and nothing of the user's."""
    if isinstance(error, BackPressureError):
        seconds = max(math.ceil(error.retry_after_s), 0)
        text = "The application is overloaded. Try again later."
        return Answer(503, text, ((b"retry-after", b"%d" % seconds),))
    if isinstance(error, InvalidRequestError):
        return Answer(400, error.reason)
    if isinstance(error, DeadlineExceededError):
        return Answer(504, f"The application did not answer within {error.timeout_s:.3g} s.")
    if isinstance(error, DeploymentUnavailableError):
        return Answer(503, "The application is unavailable: it failed to start or was deleted.")
    if isinstance(error, ReplicaUnavailableError):
        again = "it was not sent again" if error.attempts == 1 else "it was sent again in vain"
        return Answer(
            503,
            "The replica that worked on this request went away. "
            f"The request may have run; {again}.",
            ((b"retry-safe", b"no"),),
        )
    if isinstance(error, RequestCancelledError):
        return Answer(503, "The request was cancelled by the application.")
    return Answer(500, "Internal Server Error")
