"""Reports of a process's counts to the controller."""

from __future__ import annotations

import asyncio
from typing import Any

from alacarte._routing.route_services import RouteServices
from alacarte.errors import PluginError
from alacarte.types import Call, DeploymentId, Reply, Route, RouteTable
from alacarte_endpoints._call_counter import RouteReport
from alacarte_endpoints._route_reporter import COUNTS_TOPIC, counted_route

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


class World:
    """A runtime for routes, with deployments that reply with their names."""

    def __init__(self) -> None:
        self.told: list[list[RouteReport]] = []
        self.services = {each: self._service(each) for each in (A, B)}
        self.routes = RouteServices(self.services.__getitem__, lambda target: False, self._layers)

    def _layers(self, route: Route) -> Any:
        runtime: Any = self
        return [counted_route(route, runtime)]

    def service(self, deployment: DeploymentId) -> Any:
        return self.services[deployment]

    def _service(self, deployment: DeploymentId) -> Any:
        async def serve(call: Call) -> Reply:
            return Reply((deployment.app.encode(),))

        return serve

    def report(self, topic: str, value: list[RouteReport]) -> None:
        assert topic == COUNTS_TOPIC
        self.told.append(value)

    def table(self, version: int, *routes: Route) -> None:
        self.routes.update(RouteTable(version, routes))


def route(target: DeploymentId, **options: Any) -> Route:
    return Route("/r", "r", {target: 1.0}, **{"name": "r", **options})


async def ask(service: Any) -> bytes:
    reply = await service(Call("p", (b"",)))
    return bytes(reply.payload[0])


def test_weights_that_come_back(run):
    """A new version starts new counts, even with equal numbers."""

    async def main():
        world = World()
        for version in (1, 3):
            world.table(version, route(A))
            await ask(world.routes.named_service("r"))
            await asyncio.sleep(1.5)
            world.table(version + 1, route(B))
            world.table(version + 2, route(A))
        assert len(world.told) == 2
        world.routes.close()

    run(main)


def test_counts_are_told_as_they_change(run):
    """Changed counts of all routes are reported within two seconds, in one report."""

    async def main():
        world = World()
        world.table(1, route(A), Route("", "s", {B: 1.0}, name="s"))
        await ask(world.routes.named_service("r"))
        await ask(world.routes.named_service("s"))
        await asyncio.sleep(1.5)
        [reports] = world.told
        assert [each.targets[0].requests for each in reports] == [1, 1]
        await asyncio.sleep(5)
        assert len(world.told) == 1
        await ask(world.routes.named_service("r"))
        await asyncio.sleep(1.5)
        assert world.told[-1][0].targets[0].requests == 2
        world.routes.close()

    run(main)


def test_a_report_that_is_too_large(run, caplog):
    """A report that is too long is logged once, and the next valid report is sent."""

    async def main():
        world = World()
        too_large = True

        def report(topic: str, reports: list[RouteReport]) -> None:
            if too_large:
                raise PluginError("takes 70000 bytes")
            world.told.append(reports)

        world.report = report  # type: ignore[method-assign]
        world.table(1, route(A))
        service = world.routes.named_service("r")
        for _ in range(3):
            await ask(service)
            await asyncio.sleep(1.5)
        [record] = caplog.records
        assert record.getMessage().endswith("counts of this process: takes 70000 bytes")
        too_large = False
        await ask(service)
        await asyncio.sleep(1.5)
        assert [each[0].targets[0].requests for each in world.told] == [4]
        world.routes.close()

    run(main)


def test_a_route_that_is_gone_is_reported(run):
    """After the last route is gone, an empty report removes its counts."""

    async def main():
        world = World()
        world.table(1, route(A))
        await ask(world.routes.named_service("r"))
        await asyncio.sleep(1.5)
        world.table(2)
        await asyncio.sleep(1.5)
        assert [len(each) for each in world.told] == [1, 0]
        world.routes.close()

    run(main)


def test_counting_begins_anew_with_the_weights(run):
    """The counts of a route continue over rebuilds; another split has new counts."""

    async def main():
        world = World()
        weights = {A: 0.5, B: 0.5}
        world.table(1, Route("/r", "r", weights, name="r"))
        service = world.routes.named_service("r")
        await ask(service)
        world.table(
            2, Route("/r", "r", dict(weights), name="r"), Route("/x", "x", {A: 1.0}, name="x")
        )
        await ask(service)
        await asyncio.sleep(1.5)
        assert sum(each.requests for each in world.told[-1][0].targets) == 2
        world.table(3, Route("/r", "r", {A: 0.9, B: 0.1}, name="r"))
        await ask(service)
        await asyncio.sleep(1.5)
        assert sum(each.requests for each in world.told[-1][0].targets) == 1
        world.routes.close()

    run(main)


def test_copies_in_flight_end_with_the_process(run):
    """Closing ends all copies, those of previous versions included, and all reports."""

    async def hang(call: Call) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async def main():
        world = World()
        world.services[B] = hang
        world.table(1, route(A, shadows={B: 1.0}))
        service = world.routes.named_service("r")
        await ask(service)
        world.table(2, route(A, shadows={B: 0.5}, versions={A: "2"}))
        await ask(service)
        world.routes.close()
        await asyncio.sleep(5)
        assert world.told == []

    run(main)
