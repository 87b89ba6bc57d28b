"""httptools' request parser, and its undocumented behaviour that this package uses."""

from __future__ import annotations

from typing import Protocol

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
    "RequestParser",
    "callback_error",
    "new_parser",
]


class RequestParser(Protocol):
    """The methods of httptools' request parser that this package calls."""

    def feed_data(self, data: bytes) -> None:
        """Parse bytes and call the callbacks."""

    def get_method(self) -> bytes:
        """Return the method of the current request."""

    def get_http_version(self) -> str:
        """Return the version of the current request, such as "1.1"."""

    def should_keep_alive(self) -> bool:
        """Return whether the connection stays open after the current request."""

    def should_upgrade(self) -> bool:
        """Return whether the current request asks for another protocol."""


def new_parser(callbacks: object) -> RequestParser:
    """Return a parser that calls the methods `on_…` of an object."""
    parser: RequestParser = httptools.HttpRequestParser(callbacks)
    return parser


def callback_error(error: HttpParserError) -> BaseException | None:
    """Return the exception of a method `on_…` that stopped the parser, None for other errors.

    Call it outside of `except` blocks, where Python would set another exception as the context.
    """
    return error.__context__
