"""Polling of a condition, instead of a sleep of a fixed length."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")
_PAUSE_S = 0.01


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, description: str = "") -> T:
    """Return the value of a condition as soon as the value is true.

    Args:
        condition: A function to call a hundred times a second.
        timeout_s: Time limit in seconds.
        description: The name of the condition in the error; by default the name of the function.

    Raises:
        AssertionError: The condition is still false at the time limit; the message shows its value.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() >= deadline:
            name = description or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"not within {timeout_s:g} s: {name}; last seen: {value!r}")
        time.sleep(_PAUSE_S)
    return value
