"""The controller's state in the cluster's durable map: one key for each resource and each blob.

    state                       the index: facts of the instance, and where everything else lies
    state/resource/<place>      one resource, large byte strings left out
    state/blob/<place>/<n>      a part of such a byte string: code, or bound arguments

A change writes blobs first, then resources, then the index, and deletes what nothing refers to any
more last. The index is written whole, so a change is stored entirely or not at all, wherever its
writer ends. Each write has a place of its own that is never used again: a deletion that arrives
late hits nothing that is in use.
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
"""Of all that is stored, resources included: raised when a field of a stored value changes."""
_OBJECTS = f"{STATE_KEY}/"
_PART_BYTES = 8 * 1024**2
"""One answer of the control store takes milliseconds, also of a long byte string's part."""
_READS_AT_ONCE = 8


@dataclass(frozen=True)
class StoredResource:
    """Where a resource lies.

    Attributes:
        place: The last part of its key.
        blobs: Digests of the byte strings that it refers to.
    """

    place: str
    deployed_at: float
    blobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredBlob:
    """Where a byte string lies, in parts, and how long it is."""

    place: str
    size: int

    @property
    def keys(self) -> list[str]:
        parts = -(-self.size // _PART_BYTES)
        return [f"{_OBJECTS}blob/{self.place}/{part}" for part in range(parts)]


@dataclass(frozen=True)
class Index:
    """All that is stored of a state, but for what lies under keys of its own.

    Attributes:
        revision: Of this index; no other has it.
        facts: The state without resources.
        resources: By kind and name, in the order in which they were made.
        blobs: By digest.
    """

    revision: str
    facts: DesiredState
    resources: Mapping[Key, StoredResource] = field(default_factory=dict)
    blobs: Mapping[str, StoredBlob] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        """The keys of all that it refers to."""
        found = {_resource_key(each) for each in self.resources.values()}
        return found.union(*(blob.keys for blob in self.blobs.values()))

    def encode(self) -> bytes:
        # Pickled by itself, so that the format can be read where the index cannot.
        return pickle.dumps((FORMAT, pickle.dumps(self, protocol=5)), protocol=5)


def decode_index(data: bytes) -> Index:
    """Return what `Index.encode` was called on.

    Raises:
        ConfigError: Another version of alacarte wrote it.
    """
    found, inner = pickle.loads(data)
    if found != FORMAT:
        raise ConfigError(
            f"the stored state has format {found}; this version of alacarte reads {FORMAT}. Go on "
            "with the version that wrote it, or discard the state with serve.shutdown(force=True)."
        )
    index = pickle.loads(inner)
    assert isinstance(index, Index)
    return index


@dataclass(frozen=True)
class Writes:
    """What it takes to store a state, in this order.

    Attributes:
        objects: New blobs, then new resources, by key.
        index: The new index, which makes all of it count.
        garbage: Keys that nothing refers to from then on.
        blobs: The new byte strings, by digest.
    """

    state: DesiredState
    objects: Mapping[str, bytes | memoryview] = field(repr=False)
    index: Index
    garbage: frozenset[str]
    blobs: Mapping[str, bytes] = field(repr=False)


def plan(before: Index, state: DesiredState, changed: Mapping[Key, Packed], place: str) -> Writes:
    """Return the writes that make a stored state another one.

    Args:
        before: What is stored.
        changed: The resources of the new state that do not lie where `before` says.
        place: For what is new; never used before.
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
        state: The state that is stored, None before there is one.
        blobs: The large byte strings in it, by digest.
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
        """Whether what is stored is known, and holds nothing that is not needed."""
        return self._doubtful is None and not self._garbage

    async def load(self) -> DesiredState | None:
        """Read what is stored, and delete what a writer that ended left behind.

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
        """Store a state: all of it, or nothing.

        Raises:
            ClusterUnresponsive: The cluster does not answer. The state is not stored, or that is in
                doubt, and `settle` finds out.
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
        """Find out whether a change in doubt is stored; return whether there was one, and it is.

        Raises:
            ClusterUnresponsive: The cluster does not answer.
            InternalError: Another controller has stored a state since; this one must not go on.
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
            # The other one may have taken over the change, so nothing of it may be deleted.
            raise InternalError("another controller has stored the instance's state since")
        self._doubtful = None
        return False

    async def collect(self) -> None:
        """Delete what nothing refers to; what cannot be deleted now is left for the next time."""
        if self._doubtful is not None:
            return
        try:
            for key in sorted(self._garbage):
                await self._cluster.delete(key)
                self._garbage.discard(key)
        except ClusterUnresponsive as error:
            log.debug("what is not needed any more stays stored for now: %s", error)

    def _planned(self, state: DesiredState) -> Writes:
        known = {} if self.state is None else self.state.resources
        changed = {
            key: pack(resource, self.digest_of)
            for key, resource in state.resources.items()
            if known.get(key) is not resource
        }
        return plan(self._index or Index("", state), state, changed, secrets.token_hex(8))

    def digest_of(self, data: bytes) -> str:
        """Return a digest; of what is stored, without computing it again."""
        digest = self._digests.get(id(data))
        return blob_digest(data) if digest is None else digest

    def _commit(self, writes: Writes) -> None:
        """The index refers to these writes."""
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
    """Return the byte strings, by digest, and the resources that lie under an index's keys."""
    blobs = {
        digest: b"".join([data[key] for key in blob.keys]) for digest, blob in index.blobs.items()
    }
    resources: dict[Key, Resource] = {
        key: unpack(data[_resource_key(stored)], lambda digest, size: blobs[digest])
        for key, stored in index.resources.items()
    }
    return blobs, resources


async def clear(cluster: Cluster) -> None:
    """Delete all that is stored, whatever its format.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    # First: what is left without it is nobody's, and the next instance deletes it.
    await cluster.delete(STATE_KEY)
    for key in await cluster.keys(_OBJECTS):
        await cluster.delete(key)
