"""Declaration of a remote method's timeout and repeatability, and the errors of remote calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["ActorDied", "ActorUnresponsive", "CallTerms", "NotStarted", "remote", "terms_of"]

_ATTRIBUTE = "__alacarte_terms__"
F = TypeVar("F", bound=Callable[..., object])


class ActorDied(Exception):
    """The actor's process has ended, or has never started."""


class NotStarted(ActorDied):
    """The process is up but has not run the call, so the call may be sent again.

    Either the actor's constructor arguments have not arrived (their sender may have ended), or the
    actor is a node service that is starting or stopping, and accepts no messages.
    """


class ActorUnresponsive(TimeoutError):
    """The actor has not answered within the call's timeout; it may still run the call."""


@dataclass(frozen=True)
class CallTerms:
    """The terms on which callers call an actor's method.

    Attributes:
        timeout_s: Timeout of the call, in seconds. None for a method that waits for an event: its
            caller sets a timeout or cancels the call.
        repeatable: The call may be repeated after a lost answer. Only the controller's client
            repeats calls.
        extended_by: Name of an argument whose seconds are added to the timeout.
        needs_loop: The method runs on the actor's event loop. Otherwise the actor's host runs it on
            a thread of its own, even while user code blocks the loop.
    """

    timeout_s: float | None
    repeatable: bool
    extended_by: str = ""
    needs_loop: bool = True


def remote(
    *,
    timeout_s: float | None,
    repeatable: bool,
    extended_by: str = "",
    needs_loop: bool = True,
) -> Callable[[F], F]:
    """Declare the terms on which a protocol's method is called; see `CallTerms`."""
    terms = CallTerms(timeout_s, repeatable, extended_by, needs_loop)

    def declare(method: F) -> F:
        setattr(method, _ATTRIBUTE, terms)
        return method

    return declare


def terms_of(method: Callable[..., object]) -> CallTerms | None:
    """Return the terms declared on a protocol's method, None for a method without terms."""
    terms: CallTerms | None = getattr(method, _ATTRIBUTE, None)
    return terms
