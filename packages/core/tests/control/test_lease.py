"""The lease of a driver whose instance ends with it."""

from __future__ import annotations

import asyncio

from alacarte._control.lease import LEASE_S, Lease


def test_it_lapses_when_it_is_not_renewed(run):
    """A lease that is not renewed expires once, and not before its time."""

    async def main():
        loop = asyncio.get_running_loop()
        lapsed: list[float] = []

        async def end() -> None:
            lease.close()  # as a shutdown does; it must not end what ends it
            lapsed.append(loop.time())

        lease = Lease(end)
        began = loop.time()
        for _ in range(5):
            lease.renew()
            await asyncio.sleep(LEASE_S * 0.9)
        assert not lapsed
        await asyncio.sleep(LEASE_S)
        assert lapsed[0] - began >= 4 * LEASE_S * 0.9 + LEASE_S - 0.1
        assert len(lapsed) == 1

    run(main)


def test_a_shutdown_ends_it(run):
    """A lease that is closed by a shutdown does not expire."""

    async def main():
        lapsed: list[None] = []

        async def end() -> None:
            lapsed.append(None)

        lease = Lease(end)
        lease.close()
        lease.renew()
        lease.close()
        await asyncio.sleep(3 * LEASE_S)
        assert not lapsed

    run(main)


def test_an_end_that_fails_is_tried_again(run):
    """A shutdown that fails is repeated: the driver is gone."""

    async def main():
        tries: list[None] = []

        async def end() -> None:
            tries.append(None)
            if len(tries) < 3:
                raise OSError("the cluster does not answer")

        lease = Lease(end)
        lease.renew()
        await asyncio.sleep(5 * LEASE_S)
        assert len(tries) == 3

    run(main)
