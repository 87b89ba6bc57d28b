"""A meter that counts the outcome of every request."""

from __future__ import annotations

from .meter import counts

__all__ = ["counts"]
