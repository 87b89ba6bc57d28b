"""The routes of a process: those by name, newer tables, and what is told of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte._routing.splits import Splits
from alacarte.actors import SplitReport
from alacarte.errors import DeploymentUnavailableError, NotFoundError, PluginError, ServeError
from alacarte.types import Call, DeploymentId, Reply, Route, RouteTable

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


class World:
    """Deployments that answer with their names, unless they are gone; and a controller."""

    def __init__(self) -> None:
        self.gone: set[DeploymentId] = set()
        self.failed: set[DeploymentId] = set()
        self.told: list[tuple[SplitReport, ...]] = []
        self.services = {each: self._service(each) for each in (A, B)}
        self.splits = Splits(self.services.__getitem__, self.gone.__contains__, self.told.append)

    def _service(self, deployment: DeploymentId) -> Any:
        async def call(call: Call) -> Reply:
            if deployment in self.gone | self.failed:
                raise DeploymentUnavailableError(str(deployment), "it was deleted")
            return Reply((deployment.app.encode(),))

        return call

    def table(self, version: int, *routes: Route) -> None:
        self.splits.update(RouteTable(version, routes))


def route(target: DeploymentId, **options: Any) -> Route:
    return Route("/r", "r", {target: 1.0}, **{"name": "r", **options})


def never(reply: Reply) -> bool:
    return False


async def ask(service: Any) -> bytes:
    reply = await service(Call("p", (b"",)))
    return bytes(reply.payload[0])


def test_a_plain_route_is_its_target_s_service(run):
    """Nothing stands between: the very same object."""

    async def main():
        world = World()
        assert world.splits.of(route(A, name=""), never) is world.services[A]
        assert world.splits.of(route(A), never) is not world.services[A]
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_name_follows_its_route(run):
    """One service for ever; each call takes the newest table, and the first waits for one."""

    async def main():
        world = World()
        service = world.splits.named("r")
        first = asyncio.create_task(ask(service))
        await asyncio.sleep(1)
        world.table(1, route(A))
        assert await first == b"a"
        world.table(2, route(B))
        assert await ask(service) == b"b"
        world.table(3)
        with pytest.raises(NotFoundError, match="no route named 'r'; there are: none"):
            await ask(service)
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_without_a_controller_nobody_waits_for_ever(run):
    """The first table is waited for, within bounds."""

    async def main():
        world = World()
        with pytest.raises(ServeError, match="the controller does not answer"):
            await ask(world.splits.named("r"))

    run(main)


def test_a_target_deleted_after_the_weights_changed(run):
    """Hearing of the deletion first costs a call nothing: it waits for the newer table."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        late = asyncio.create_task(ask(world.splits.named("r")))
        await asyncio.sleep(0.5)
        world.table(2, route(B))
        assert await late == b"b"
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_target_that_is_really_gone(run):
    """Its error comes through, and not much later."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeploymentUnavailableError):
            await ask(world.splits.named("r"))
        assert asyncio.get_running_loop().time() - began < 2
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_target_that_does_not_start(run):
    """It is where its weight says, so its error is told at once."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.failed.add(A)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeploymentUnavailableError):
            await ask(world.splits.named("r"))
        assert asyncio.get_running_loop().time() == began
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_table_about_something_else(run):
    """It does not end the wait for the one that matters."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        late = asyncio.create_task(ask(world.splits.of(route(A), never)))
        await asyncio.sleep(0.3)
        world.table(2, route(A), Route("/x", "x", {B: 1.0}))
        await asyncio.sleep(0.3)
        world.table(3, route(B))
        assert await late == b"b"
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_weights_that_come_back(run):
    """What was counted before is another count, also where the numbers are the same."""

    async def main():
        world = World()
        for version in (1, 3):
            world.table(version, route(A))
            await ask(world.splits.named("r"))
            await asyncio.sleep(1.5)
            world.table(version + 1, route(B))
            world.table(version + 2, route(A))
        assert len(world.told) == 2
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_counts_are_told_as_they_change(run):
    """Within a second or two, all in one."""

    async def main():
        world = World()
        world.table(1, route(A), Route("", "s", {B: 1.0}, name="s"))
        await ask(world.splits.named("r"))
        await ask(world.splits.named("s"))
        await asyncio.sleep(1.5)
        [reports] = world.told
        assert [each.tallies[0].requests for each in reports] == [1, 1]
        await asyncio.sleep(5)
        assert len(world.told) == 1
        await ask(world.splits.named("r"))
        await asyncio.sleep(1.5)
        assert world.told[-1][0].tallies[0].requests == 2
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_report_that_is_too_large(run, caplog):
    """Is logged once, and the next one that fits is sent."""

    async def main():
        world = World()
        too_large = True

        def report(reports: tuple[SplitReport, ...]) -> None:
            if too_large:
                raise PluginError("takes 70000 bytes")
            world.told.append(reports)

        world.splits = Splits(world.services.__getitem__, world.gone.__contains__, report)
        world.table(1, route(A))
        service = world.splits.named("r")
        for _ in range(3):
            await ask(service)
            await asyncio.sleep(1.5)
        [record] = caplog.records
        assert record.getMessage().endswith("routes are not reported: takes 70000 bytes")
        too_large = False
        await ask(service)
        await asyncio.sleep(1.5)
        assert [each[0].tallies[0].requests for each in world.told] == [4]
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_a_route_that_is_gone_is_reported(run):
    """The controller then holds no counts that another route of its name would begin with."""

    async def main():
        world = World()
        world.table(1, route(A))
        await ask(world.splits.named("r"))
        await asyncio.sleep(1.5)
        world.table(2)
        await asyncio.sleep(1.5)
        assert [len(each) for each in world.told] == [1, 0]
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_counting_begins_anew_with_the_weights(run):
    """The same route goes on counting; another split of it does not."""

    async def main():
        world = World()
        weights = {A: 0.5, B: 0.5}
        world.table(1, Route("/r", "r", weights, name="r"))
        service = world.splits.named("r")
        await ask(service)
        world.table(
            2, Route("/r", "r", dict(weights), name="r"), Route("/x", "x", {A: 1.0}, name="x")
        )
        await ask(service)
        await asyncio.sleep(1.5)
        assert sum(each.requests for each in world.told[-1][0].tallies) == 2
        world.table(3, Route("/r", "r", {A: 0.9, B: 0.1}, name="r"))
        await ask(service)
        await asyncio.sleep(1.5)
        assert sum(each.requests for each in world.told[-1][0].tallies) == 1
        world.splits.close()
        await asyncio.sleep(0)

    run(main)


def test_who_listens_hears_of_every_table(run):
    """Also of the one that was there before."""

    async def main():
        world = World()
        heard: list[int] = []
        world.splits.listen(lambda table: heard.append(table.version))
        world.table(1)
        world.splits.listen(lambda table: heard.append(-table.version))
        world.table(2)
        assert heard == [1, -1, 2, -2]
        await world.splits.known(2)
        late = asyncio.create_task(world.splits.known(4))
        world.table(3)
        await asyncio.sleep(1)
        assert not late.done()
        world.table(4)
        await late

    run(main)
