"""The controller's state in the cluster's durable map: one key for each resource and each blob.

    state                       the index: the instance, and the keys of all other values
    state/resource/<place>      one resource, without its large byte strings
    state/blob/<place>/<n>      a part of such a byte string: code, or bound arguments

A change writes blobs first, then resources, then the index, and deletes unreferenced keys last. The
index is one value, so a change is stored entirely or not at all, wherever its writer ends. Each
write uses new keys that are never used again: a late deletion hits no key in use.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from .._cluster.cluster_protocol import Cluster, ClusterUnresponsive
from .._model.blobs import Packed, blob_digest, pack, unpack
from .._model.plan import Key
from ..errors import ConfigError, InternalError
from ..types import Resource
from .desired_state import DesiredState

__all__ = [
    "FORMAT",
    "STATE_KEY",
    "Index",
    "Storage",
    "Writes",
    "assemble",
    "clear",
    "decode_index",
    "plan",
]

log = logging.getLogger("alacarte.controller")
STATE_KEY = "state"
FORMAT = 3
"""Format of all stored values, resources included. Increase it when a stored field changes."""
_OBJECTS = f"{STATE_KEY}/"
_PART_BYTES = 8 * 1024**2
"""Size of a blob's parts, so that each answer of the control store takes milliseconds."""
_READS_AT_ONCE = 8


@dataclass(frozen=True)
class StoredResource:
    """Location of a stored resource.

    Attributes:
        place: Last part of its key.
        deployed_at: Time of its last `apply`, in seconds since 1970.
        blobs: Digests of its large byte strings.
    """

    place: str
    deployed_at: float
    blobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredBlob:
    """Location and size of a large byte string, stored in parts."""

    place: str
    size: int

    @property
    def keys(self) -> list[str]:
        """The storage keys of the parts, in order."""
        parts = -(-self.size // _PART_BYTES)
        return [f"{_OBJECTS}blob/{self.place}/{part}" for part in range(parts)]


@dataclass(frozen=True)
class Index:
    """The root of a stored state: everything but resources and blobs, with their locations.

    Attributes:
        revision: Unique id of this index.
        facts: The state without resources.
        resources: Locations by kind and name, in the order of creation.
        blobs: Locations by digest.
    """

    revision: str
    facts: DesiredState
    resources: Mapping[Key, StoredResource] = field(default_factory=dict)
    blobs: Mapping[str, StoredBlob] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        """All keys that the index refers to."""
        found = {_resource_key(each) for each in self.resources.values()}
        return found.union(*(blob.keys for blob in self.blobs.values()))

    def encode(self) -> bytes:
        """Return the index as the stored bytes."""
        # Pickled separately, so that the format number is readable when the index is not.
        return pickle.dumps((FORMAT, pickle.dumps(self, protocol=5)), protocol=5)


def decode_index(data: bytes) -> Index:
    """Decode the result of `Index.encode`.

    Raises:
        ConfigError: Another version of alacarte wrote it.
    """
    found, inner = pickle.loads(data)
    if found != FORMAT:
        raise ConfigError(
            f"the stored state has format {found}; this version of alacarte reads format {FORMAT}. "
            "Run the version that wrote the state, or discard it with serve.shutdown(force=True)."
        )
    index = pickle.loads(inner)
    assert isinstance(index, Index)
    return index


@dataclass(frozen=True)
class Writes:
    """The writes that store a state, in this order.

    Attributes:
        state: The state to store.
        objects: New blobs, then new resources, by key.
        index: The new index, whose write commits the change.
        garbage: Keys that are unreferenced after the commit.
        blobs: The new byte strings by digest.
    """

    state: DesiredState
    objects: Mapping[str, bytes | memoryview] = field(repr=False)
    index: Index
    garbage: frozenset[str]
    blobs: Mapping[str, bytes] = field(repr=False)


def plan(before: Index, state: DesiredState, changed: Mapping[Key, Packed], place: str) -> Writes:
    """Return the writes that replace a stored state by a new one.

    Args:
        before: The stored index.
        changed: The new state's resources that are new or differ from the stored ones.
        place: Unique prefix for the places of new values.
    """
    resources: dict[Key, StoredResource] = {}
    blobs: dict[str, StoredBlob] = {}
    new_blobs: dict[str, bytes] = {}
    records: dict[str, bytes | memoryview] = {}
    for number, (key, at) in enumerate(state.deployed_at.items()):
        if key in changed:
            packed = changed[key]
            stored = StoredResource(f"{place}-{number}", at, tuple(packed.sizes))
            records[_resource_key(stored)] = packed.data
            new = [each for each in packed.sizes if each not in before.blobs]
            new_blobs |= {digest: packed.blobs[digest] for digest in new}
        else:
            stored = replace(before.resources[key], deployed_at=at)
        resources[key] = stored
        for digest in stored.blobs:
            known = before.blobs.get(digest)
            blobs[digest] = known or StoredBlob(f"{place}-{digest[:16]}", len(new_blobs[digest]))
    parts: dict[str, bytes | memoryview] = {}
    for digest, data in new_blobs.items():
        parts |= zip(blobs[digest].keys, _parts(data), strict=True)
    index = Index(place, replace(state, resources={}, deployed_at={}), resources, blobs)
    garbage = frozenset(before.keys - index.keys)
    return Writes(state, {**parts, **records}, index, garbage, new_blobs)


def _resource_key(stored: StoredResource) -> str:
    return f"{_OBJECTS}resource/{stored.place}"


def _parts(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[at : at + _PART_BYTES] for at in range(0, len(data), _PART_BYTES))


class Storage:
    """The stored state of one instance. Lives on the controller's loop, one call at a time.

    Attributes:
        state: The stored state, None before the first.
        blobs: The state's large byte strings by digest.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.state: DesiredState | None = None
        self.blobs: dict[str, bytes] = {}
        self._cluster = cluster
        self._index: Index | None = None
        self._digests: dict[int, str] = {}
        self._doubtful: Writes | None = None
        self._garbage: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether no change is in doubt and no garbage is stored."""
        return self._doubtful is None and not self._garbage

    async def load(self) -> DesiredState | None:
        """Read the stored state, and delete the garbage of an interrupted writer.

        Raises:
            ConfigError: Another version of alacarte wrote the state.
            ClusterUnresponsive: The cluster does not answer.
        """
        data = await self._cluster.get(STATE_KEY)
        found = set(await self._cluster.keys(_OBJECTS))
        index = None if data is None else decode_index(data)
        if index is not None:
            blobs, resources = await self._read(index)
            times = {key: stored.deployed_at for key, stored in index.resources.items()}
            state = replace(index.facts, resources=resources, deployed_at=times)
            self._adopt(index, state, blobs)
        self._doubtful = None
        self._garbage = found - (set() if index is None else index.keys)
        await self.collect()
        return self.state

    async def save(self, state: DesiredState) -> None:
        """Store a state atomically.

        Raises:
            ClusterUnresponsive: The cluster does not answer. The state is not stored, or the change
                is in doubt until `settle`.
        """
        await self.settle()
        writes = self._planned(state)
        self._garbage |= writes.objects.keys()  # until the index refers to them
        for key, data in writes.objects.items():
            await self._cluster.put(key, bytes(data))
        self._doubtful = writes
        try:
            await self._cluster.put(STATE_KEY, writes.index.encode())
        except ClusterUnresponsive:
            if not await self.settle():
                raise
        else:
            self._commit(writes)
        await self.collect()

    async def settle(self) -> bool:
        """Settle a change in doubt; return whether there was one and it is stored.

        Raises:
            ClusterUnresponsive: The cluster does not answer.
            InternalError: Another controller has stored a state since.
        """
        writes = self._doubtful
        if writes is None:
            return False
        data = await self._cluster.get(STATE_KEY)
        found = "" if data is None else decode_index(data).revision
        if found == writes.index.revision:
            self._commit(writes)
            return True
        if found != ("" if self._index is None else self._index.revision):
            # The other controller may have adopted the change, so none of it may be deleted.
            raise InternalError("another controller has stored the instance's state since")
        self._doubtful = None
        return False

    async def collect(self) -> None:
        """Delete unreferenced keys; keep those that cannot be deleted now for the next call."""
        if self._doubtful is not None:
            return
        try:
            for key in sorted(self._garbage):
                await self._cluster.delete(key)
                self._garbage.discard(key)
        except ClusterUnresponsive as error:
            log.debug("unreferenced keys could not be deleted yet: %s", error)

    def _planned(self, state: DesiredState) -> Writes:
        known = {} if self.state is None else self.state.resources
        changed = {
            key: pack(resource, self.digest_of)
            for key, resource in state.resources.items()
            if known.get(key) is not resource
        }
        return plan(self._index or Index("", state), state, changed, secrets.token_hex(8))

    def digest_of(self, data: bytes) -> str:
        """Return the digest of a byte string, from a cache for stored ones."""
        digest = self._digests.get(id(data))
        return blob_digest(data) if digest is None else digest

    def _commit(self, writes: Writes) -> None:
        """Make these writes the stored state: their index is known to be stored."""
        self._doubtful = None
        self._garbage = (self._garbage | writes.garbage) - writes.index.keys
        blobs = {**self.blobs, **writes.blobs}
        kept = {digest: blobs[digest] for digest in writes.index.blobs}
        self._adopt(writes.index, writes.state, kept)

    def _adopt(self, index: Index, state: DesiredState, blobs: dict[str, bytes]) -> None:
        self._index, self.state, self.blobs = index, state, blobs
        self._digests = {id(data): digest for digest, data in blobs.items()}

    async def _read(self, index: Index) -> tuple[dict[str, bytes], dict[Key, Resource]]:
        slots = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(key: str) -> bytes:
            async with slots:
                data = await self._cluster.get(key)
            if data is None:
                raise ConfigError(
                    f"the stored state is damaged: {key} is missing. Discard the state with "
                    "serve.shutdown(force=True), and deploy again."
                )
            return data

        keys = sorted(index.keys)
        return assemble(index, dict(zip(keys, await asyncio.gather(*map(read, keys)), strict=True)))


def assemble(
    index: Index, data: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[Key, Resource]]:
    """Return an index's blobs by digest and its resources by key.

    Args:
        data: Stored values by storage key.
    """
    blobs = {
        digest: b"".join([data[key] for key in blob.keys]) for digest, blob in index.blobs.items()
    }
    resources: dict[Key, Resource] = {
        key: unpack(data[_resource_key(stored)], lambda digest, size: blobs[digest])
        for key, stored in index.resources.items()
    }
    return blobs, resources


async def clear(cluster: Cluster) -> None:
    """Delete all stored values, whatever their format.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    # The index first: without it the rest is garbage, which the next instance deletes.
    await cluster.delete(STATE_KEY)
    for key in await cluster.keys(_OBJECTS):
        await cluster.delete(key)
