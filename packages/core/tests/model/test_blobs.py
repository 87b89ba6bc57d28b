"""Large byte strings, packed apart from their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alacarte._model.blobs import MIN_BLOB_BYTES, BlobRef, blob_digest, pack, unpack

LARGE = bytes(range(256)) * (MIN_BLOB_BYTES // 128)


@dataclass(frozen=True)
class Spec:
    """A value with a byte string in it."""

    code: Any
    name: str = "x"


def test_a_packed_value_is_small_and_comes_back_whole():
    """Large strings are packed apart at any depth, and once each."""
    value = {"a": [Spec(LARGE), Spec(LARGE)], "b": (b"short", LARGE + b"!")}
    packed = pack(value)
    assert len(packed.data) < 1000
    assert packed.sizes == {
        blob_digest(LARGE): len(LARGE),
        blob_digest(LARGE + b"!"): len(LARGE) + 1,
    }
    assert packed.blobs.keys() == packed.sizes.keys()
    assert unpack(packed.data, lambda digest, size: packed.blobs[digest]) == value


def test_a_reference_stands_for_its_string():
    """A reference equals its string, has its length, and packs like it."""
    there = unpack(pack(Spec(LARGE)).data)
    assert isinstance(there.code, BlobRef)
    assert there == Spec(LARGE)
    assert Spec(LARGE) == there
    assert there != Spec(LARGE + b"!")
    assert there != Spec(LARGE[::-1])
    assert there.code != "something else"
    assert len(there.code) == len(LARGE)
    assert repr(there.code) == f"<{len(LARGE)} bytes, {blob_digest(LARGE)[:8]}>"
    again = pack(there)
    assert again.sizes == {blob_digest(LARGE): len(LARGE)}
    assert again.blobs == {}
    assert unpack(again.data, lambda digest, size: LARGE) == Spec(LARGE)


def test_a_known_digest_is_not_computed_again():
    """`pack` takes digests from the caller's cache."""
    asked = []

    def digest_of(data: bytes) -> str:
        asked.append(len(data))
        return "known"

    assert pack([LARGE, b"short"], digest_of).sizes == {"known": len(LARGE)}
    assert asked == [len(LARGE)]
