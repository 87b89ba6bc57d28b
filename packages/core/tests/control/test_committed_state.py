"""The committed state: the state in use is the stored one, also after an outage."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ClusterUnresponsive
from alacarte._control.committed_state import CommittedState
from alacarte._control.desired_state import DesiredState
from alacarte._control.storage import STATE_KEY, Storage
from alacarte.testing import FakeClock

OLD = DesiredState("i", {"cluster": {}})
NEW = replace(OLD, held=True)


class Map:
    """A durable map.

    Attributes:
        silent: No access is answered.
        does_it: It writes all the same.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.silent = False
        self.does_it = False

    def _answer(self) -> None:
        if self.silent:
            raise ClusterUnresponsive("no answer")

    async def get(self, key: str) -> bytes | None:
        self._answer()
        return self.stored.get(key)

    async def keys(self, prefix: str) -> list[str]:
        self._answer()
        return [key for key in self.stored if key.startswith(prefix)]

    async def put(self, key: str, value: bytes) -> None:
        if self.does_it or not self.silent:
            self.stored[key] = value
        self._answer()

    async def delete(self, key: str) -> None:
        self._answer()
        self.stored.pop(key, None)


class Site:
    """A state that is stored."""

    def __init__(self) -> None:
        self.map: Any = Map()
        self.storage = Storage(self.map)
        self.settled: list[DesiredState] = []
        self.committed = CommittedState(self.storage, OLD, self._note)

    def _note(self) -> None:
        self.settled.append(self.committed.state)

    async def begin(self) -> None:
        await self.storage.load()
        await self.storage.save(OLD)

    async def change(self, state: DesiredState) -> None:
        async with self.committed.changing():
            await self.committed.store(state)


def test_a_change_is_stored_before_it_counts():
    """During the write the old state stays in use, and other changes wait."""

    async def main() -> None:
        site = Site()
        await site.begin()
        before = site.map.stored[STATE_KEY]
        async with site.committed.changing() as state:
            other = asyncio.create_task(site.change(OLD))
            await asyncio.sleep(1)
            assert (state, site.map.stored[STATE_KEY]) == (OLD, before)
            await site.committed.store(NEW)
            assert site.map.stored[STATE_KEY] != before
            assert (site.committed.state, other.done()) == (NEW, False)
        await other
        assert site.committed.state == OLD
        assert site.settled == []  # whoever stores a state knows of it

    FakeClock().run(main())


@pytest.mark.parametrize("does_it", [True, False])
def test_a_change_in_doubt_is_settled_without_another(does_it: bool):
    """Soon after the cluster answers again, the state in use is the stored one."""

    async def main() -> None:
        site = Site()
        await site.begin()
        site.map.silent, site.map.does_it = True, does_it
        with pytest.raises(ClusterUnresponsive):
            await site.change(NEW)
        assert site.committed.state == OLD
        await asyncio.sleep(60)
        assert site.settled == []
        site.map.silent = False
        await asyncio.sleep(2)
        assert site.settled == ([NEW] if does_it else [])
        assert site.committed.state == (NEW if does_it else OLD)
        assert site.storage.is_settled

    FakeClock().run(main())


def test_the_next_change_finds_out_about_the_last_one():
    """The next change starts from the stored state, and fails if the cluster does not answer."""

    async def main() -> None:
        site = Site()
        await site.begin()
        site.map.silent = site.map.does_it = True
        with pytest.raises(ClusterUnresponsive):
            await site.change(NEW)
        with pytest.raises(ClusterUnresponsive):
            await site.change(OLD)
        site.map.silent = False
        async with site.committed.changing() as state:
            assert state == NEW
        await asyncio.sleep(2)
        assert site.settled == [NEW]

    FakeClock().run(main())


def test_a_closed_state_settles_nothing_by_itself():
    """An instance that ends is about to delete all that is stored."""

    async def main() -> None:
        site = Site()
        await site.begin()
        site.map.silent = site.map.does_it = True
        with pytest.raises(ClusterUnresponsive):
            await site.change(NEW)
        site.committed.close()
        site.map.silent = False
        await asyncio.sleep(60)
        assert site.settled == []

    FakeClock().run(main())
