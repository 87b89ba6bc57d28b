"""The current call of a plugin's hook, for checks in the code that the plugin calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["current_hook_call", "hook_call"]

current_hook_call: ContextVar[str] = ContextVar("alacarte_hook_call", default="")
"""The error for a use of the runtime in the current hook call, "" outside of a hook call."""


@contextlib.contextmanager
def hook_call(refusal: str) -> Iterator[None]:
    """Mark the code of a `with` block as a hook call, which must not use this process's runtime.

    Args:
        refusal: The error for an attempt to use the runtime.
    """
    token = current_hook_call.set(refusal)
    try:
        yield
    finally:
        current_hook_call.reset(token)
