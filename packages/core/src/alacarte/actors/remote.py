"""The terms of a call between processes, declared on the method, and the errors of a lost call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["ActorDied", "ActorUnresponsive", "CallTerms", "NotStarted", "remote", "terms_of"]

_ATTRIBUTE = "__alacarte_terms__"
F = TypeVar("F", bound=Callable[..., Any])


class ActorDied(Exception):
    """The actor's process is gone, or it never came up."""


class NotStarted(ActorDied):
    """The process is up, and has certainly not run the call: the call may be sent again.

    It has no arguments yet, and whoever started it may have ended since; or it is a node service
    that is starting or ending, which takes no messages.
    """


class ActorUnresponsive(TimeoutError):
    """The actor has not answered within the patience of the call; it may still run the call."""


@dataclass(frozen=True)
class CallTerms:
    """How a method of an actor is called.

    Attributes:
        patience_s: The seconds a caller waits for the answer. None for a method that answers when
            something has happened: the caller bounds the wait, or cancels it.
        repeatable: A second call does no harm where the answer of the first was lost. Only the
            client of the controller makes one.
        extended_by: Name of the argument whose seconds the caller waits beyond `patience_s`.
        needs_loop: The actor's event loop runs the method. Otherwise the actor's host answers from
            a thread of its own, also while user code blocks the loop.
    """

    patience_s: float | None
    repeatable: bool
    extended_by: str = ""
    needs_loop: bool = True


def remote(
    *,
    patience_s: float | None,
    repeatable: bool,
    extended_by: str = "",
    needs_loop: bool = True,
) -> Callable[[F], F]:
    """Declare the terms on which a protocol's method is called; see `CallTerms`."""
    terms = CallTerms(patience_s, repeatable, extended_by, needs_loop)

    def declare(method: F) -> F:
        setattr(method, _ATTRIBUTE, terms)
        return method

    return declare


def terms_of(method: Callable[..., Any]) -> CallTerms | None:
    """Return the terms declared on a protocol's method, None for a method without any."""
    terms: CallTerms | None = getattr(method, _ATTRIBUTE, None)
    return terms
