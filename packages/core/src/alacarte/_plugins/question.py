"""Which plugin is being asked, for what it calls meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["asking", "current_question"]

current_question: ContextVar[str] = ContextVar("alacarte_question", default="")
"""The plugin that is being asked and the hook, "" outside of one."""


@contextlib.contextmanager
def asking(question: str) -> Iterator[None]:
    """Mark the code that runs as a plugin's, which must not connect this process to anything."""
    token = current_question.set(question)
    try:
        yield
    finally:
        current_question.reset(token)
