"""httptools' request parser, and its undocumented behaviour that this package uses."""

from __future__ import annotations

from typing import Any

import httptools
from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
)

__all__ = [
    "HttpParserCallbackError",
    "HttpParserError",
    "HttpParserInvalidMethodError",
    "HttpParserUpgrade",
    "callback_error",
    "new_parser",
]


def new_parser(callbacks: Any) -> Any:
    """Return a parser that calls the methods `on_…` of an object."""
    return httptools.HttpRequestParser(callbacks)


def callback_error(error: HttpParserError) -> BaseException | None:
    """Return the exception of a method `on_…` that stopped the parser, None for other errors.

    Call it outside of `except` blocks, where Python would set another exception as the context.
    """
    return error.__context__
