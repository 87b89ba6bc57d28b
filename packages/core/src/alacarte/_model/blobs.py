"""Large byte strings, stored apart from their values: sent once, and stored once.

A pickled value has a reference in place of each large byte string. A process that already has the
string, under its digest, need not receive it again.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = ["MIN_BLOB_BYTES", "BlobRef", "Packed", "blob_digest", "pack", "unpack"]

MIN_BLOB_BYTES = 4096
"""A shorter string is part of its value: a reference to it would cost as much."""
_MARK = "alacarte.blob"


class BlobRef:
    """A reference to a byte string that this process does not have. Equal to the string itself.

    Attributes:
        digest: Digest of the string; see `blob_digest`.
        size: Length of the string in bytes.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BlobRef):
            return self.digest == other.digest
        if isinstance(other, bytes):
            return len(other) == self.size and blob_digest(other) == self.digest
        return NotImplemented

    def __repr__(self) -> str:
        return f"<{self.size} bytes, {self.digest[:8]}>"


@dataclass(frozen=True)
class Packed:
    """A pickled value, and its large byte strings.

    Attributes:
        data: The pickle, with references in place of large byte strings.
        sizes: The sizes of all large byte strings, by digest.
        blobs: The large byte strings that this process has, by digest.
    """

    data: bytes = field(repr=False)
    sizes: Mapping[str, int]
    blobs: Mapping[str, bytes] = field(repr=False)


def blob_digest(data: bytes) -> str:
    """Return the digest that identifies a byte string."""
    return hashlib.sha256(data).hexdigest()


def pack(value: object, digest_of: Callable[[bytes], str] = blob_digest) -> Packed:
    """Pickle a value, with its large byte strings apart.

    Args:
        digest_of: `blob_digest`, or a function that caches its results.
    """
    file = io.BytesIO()
    pickler = _BlobPickler(file, digest_of)
    pickler.dump(value)
    return Packed(file.getvalue(), pickler.sizes, pickler.blobs)


def unpack(data: bytes, find: Callable[[str, int], object] = BlobRef) -> Any:
    """Return the value that `pack` has pickled.

    Args:
        find: Returns the byte string of a digest and size, or a reference to it.
    """
    return _BlobUnpickler(data, find).load()


class _BlobPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, digest_of: Callable[[bytes], str]) -> None:
        super().__init__(file, protocol=5)
        self.sizes: dict[str, int] = {}
        self.blobs: dict[str, bytes] = {}
        self._digest_of = digest_of

    def persistent_id(self, obj: object) -> Any:
        if type(obj) is bytes and len(obj) >= MIN_BLOB_BYTES:
            digest = self._digest_of(obj)
            self.blobs[digest] = obj
        elif type(obj) is BlobRef:
            digest = obj.digest
        else:
            return None
        self.sizes[digest] = len(obj)
        return _MARK, digest, len(obj)


class _BlobUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, find: Callable[[str, int], object]) -> None:
        super().__init__(io.BytesIO(data))
        self._find = find

    def persistent_load(self, pid: tuple[str, str, int]) -> object:
        mark, digest, size = pid
        if mark != _MARK:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        return self._find(digest, size)
