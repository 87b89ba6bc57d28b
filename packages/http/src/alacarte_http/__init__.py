"""HTTP for alacarte: a proxy on each node, ASGI applications, and requests in user code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .__about__ import __version__

if TYPE_CHECKING:
    from .config import HTTPOptions

__all__ = ["HTTPOptions", "__version__"]


def __getattr__(name: str) -> object:
    # Lazy: pydantic takes longer to import than the rest of this package.
    if name == "HTTPOptions":
        from .config import HTTPOptions

        return HTTPOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
