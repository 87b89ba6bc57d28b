"""API keys for each application, checked in the HTTP proxy."""

from __future__ import annotations

import hashlib

__all__ = ["digest"]


def digest(key: str) -> str:
    """Return the digest of a key for the configuration: SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode("latin-1")).hexdigest()
