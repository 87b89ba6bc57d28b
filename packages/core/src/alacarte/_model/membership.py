"""What makes a process one of an instance: handed to it when it starts, and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Membership"]


@dataclass(frozen=True)
class Membership:
    """What each process of an instance is handed, in a call, and keeps in its memory alone.

    Attributes:
        instance: Random name of the instance; in the names of its actors, and no secret.
        secret: What its processes prove to each other.
        config: All sections of the configuration, secrets included, as plain values.
    """

    instance: str
    secret: bytes = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
