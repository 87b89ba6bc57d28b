"""httptools' parser of requests, with what its documentation leaves out."""

from __future__ import annotations

from typing import Any

import httptools
from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    parse_url,
)

__all__ = [
    "HttpParserCallbackError",
    "HttpParserError",
    "HttpParserInvalidMethodError",
    "HttpParserUpgrade",
    "cause_of",
    "let_data_follow",
    "new_parser",
    "parse_url",
]


def new_parser(protocol: Any) -> Any:
    """Return a parser that calls the methods `on_…` of a protocol."""
    return let_data_follow(httptools.HttpRequestParser(protocol))


def let_data_follow(parser: Any) -> Any:
    """Let a parser accept bytes behind a last request; return it.

    Without this the last request itself is refused for what follows it.
    """
    httptools.HttpRequestParser.set_dangerous_leniencies(parser, lenient_data_after_close=True)
    return parser


def cause_of(error: HttpParserError) -> BaseException | None:
    """Return what a method `on_…` raised, where that is what stopped the parser.

    Call it where no other exception is being handled: that would take the place of the cause.
    """
    return error.__context__
