"""httptools' parser of requests, with what its documentation leaves out."""

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
    "cause_of",
    "new_parser",
]


def new_parser(callbacks: Any) -> Any:
    """Return a parser that calls the methods `on_…` of an object."""
    return httptools.HttpRequestParser(callbacks)


def cause_of(error: HttpParserError) -> BaseException | None:
    """Return what a method `on_…` raised, where that is what stopped the parser.

    Call it where no other exception is being handled: that would take the place of the cause.
    """
    return error.__context__
