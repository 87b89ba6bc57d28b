"""Advertisements of replicas: by topic, a set of short strings that callers route by.

Encoded as JSON, because some callers unpickle nothing. An advertisement fits one frame.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from ..errors import ConfigError
from ..types import Buffer
from .frames import CHUNK_BYTES, FrameError

__all__ = ["read_advertisement", "write_advertisement"]


def write_advertisement(topics: Mapping[str, Collection[str]]) -> bytes:
    """Return the payload of an ADVERTISE frame.

    Raises:
        ConfigError: The topics together exceed the size of one frame.
    """
    payload = json.dumps({topic: sorted(values) for topic, values in topics.items()}).encode()
    if len(payload) > CHUNK_BYTES:
        sizes = ", ".join(f"{len(values)} of {topic!r}" for topic, values in topics.items())
        raise ConfigError(
            f"a replica advertises {len(payload)} bytes ({sizes}); {CHUNK_BYTES} are allowed. "
            "Advertise fewer or shorter values."
        )
    return payload


def read_advertisement(payload: Buffer) -> dict[str, frozenset[str]]:
    """Return the topics of an ADVERTISE frame.

    Raises:
        FrameError: The payload is not an advertisement.
    """
    try:
        topics = json.loads(bytes(payload))
        if any(not isinstance(text, str) for values in topics.values() for text in values):
            raise TypeError("a value is not a string")
        return {topic: frozenset(values) for topic, values in topics.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FrameError(f"an advertisement that cannot be read: {error!r}") from None
