"""What a replica tells its callers that it holds: by topic, a set of short texts.

JSON, and no pickle: every process can read it. It fits one frame, so it is bounded on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from ..errors import ConfigError
from ..types import Buffer
from .frames import CHUNK_BYTES, FrameError

__all__ = ["read_advertisement", "write_advertisement"]


def write_advertisement(topics: Mapping[str, Collection[str]]) -> bytes:
    """Return the payload of an ADVERTISE.

    Raises:
        ConfigError: It is longer than one frame may be.
    """
    payload = json.dumps({topic: sorted(values) for topic, values in topics.items()}).encode()
    if len(payload) > CHUNK_BYTES:
        sizes = ", ".join(f"{len(values)} of {topic!r}" for topic, values in topics.items())
        raise ConfigError(
            f"a replica advertises {len(payload)} bytes ({sizes}); {CHUNK_BYTES} are allowed: "
            "advertise fewer values, or shorter ones."
        )
    return payload


def read_advertisement(payload: Buffer) -> dict[str, frozenset[str]]:
    """Return what an ADVERTISE says.

    Raises:
        FrameError: The bytes are none.
    """
    try:
        topics = json.loads(bytes(payload))
        if any(not isinstance(text, str) for values in topics.values() for text in values):
            raise TypeError("a value is no text")
        return {topic: frozenset(values) for topic, values in topics.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FrameError(f"an advertisement that cannot be read: {error!r}") from None
