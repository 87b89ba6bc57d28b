"""The services of routes: by name, under newer tables, and inside layers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte._routing.route_services import RouteServices
from alacarte.errors import DeploymentUnavailableError, NotFoundError, ServeError
from alacarte.types import Call, DeploymentId, Reply, Route, RouteTable

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


class Layer:
    """A `RouteLayer` that only notes its end."""

    def __init__(self, route: Route, log: list[Any]) -> None:
        self.route = route
        self.log = log

    def wrap(self, service: Any, failed: Any) -> Any:
        return service

    def wrap_target(self, target: DeploymentId, service: Any, failed: Any) -> Any:
        return service

    def close(self, *, replaced: bool) -> None:
        self.log.append(("replaced" if replaced else "left", self.route.targets))


class World:
    """Deployments that answer with their names, unless they are gone; and a controller."""

    def __init__(self) -> None:
        self.gone: set[DeploymentId] = set()
        self.failed: set[DeploymentId] = set()
        self.log: list[Any] = []
        self.services = {each: self._service(each) for each in (A, B)}
        self.routes = RouteServices(self.services.__getitem__, self.gone.__contains__, self.layers)

    def layers(self, route: Route) -> list[Layer]:
        self.log.append(("made", route.targets))
        return [Layer(route, self.log)]

    def _service(self, deployment: DeploymentId) -> Any:
        async def serve(call: Call) -> Reply:
            if deployment in self.gone | self.failed:
                raise DeploymentUnavailableError(str(deployment), "it was deleted")
            return Reply((deployment.app.encode(),))

        return serve

    def table(self, version: int, *routes: Route) -> None:
        self.routes.update(RouteTable(version, routes))


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
        assert world.routes.route_service(route(A, name=""), never) is world.services[A]
        assert world.routes.route_service(route(A), never) is not world.services[A]

    run(main)


def test_a_name_follows_its_route(run):
    """One service for a name: each call uses the newest table, the first one waits for it."""

    async def main():
        world = World()
        service = world.routes.named_service("r")
        first = asyncio.create_task(ask(service))
        await asyncio.sleep(1)
        world.table(1, route(A))
        assert await first == b"a"
        world.table(2, route(B))
        assert await ask(service) == b"b"
        world.table(3)
        with pytest.raises(NotFoundError, match="no route is named 'r'; the routes are: none"):
            await ask(service)

    run(main)


def test_without_a_controller_a_call_fails(run):
    """The first table is waited for, within bounds."""

    async def main():
        world = World()
        with pytest.raises(ServeError, match="the controller has not sent the routes"):
            await ask(world.routes.named_service("r"))

    run(main)


def test_a_target_deleted_after_the_weights_changed(run):
    """A call whose target was deleted waits for the newer table, and succeeds."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        late = asyncio.create_task(ask(world.routes.named_service("r")))
        await asyncio.sleep(0.5)
        world.table(2, route(B))
        assert await late == b"b"

    run(main)


def test_a_target_that_is_really_gone(run):
    """The error of a deleted target reaches the caller soon."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeploymentUnavailableError):
            await ask(world.routes.named_service("r"))
        assert asyncio.get_running_loop().time() - began < 2

    run(main)


def test_a_target_that_does_not_start(run):
    """The route is unchanged, so the error of its target is raised at once."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.failed.add(A)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeploymentUnavailableError):
            await ask(world.routes.named_service("r"))
        assert asyncio.get_running_loop().time() == began

    run(main)


def test_a_table_about_something_else(run):
    """A table with other changes does not end the wait."""

    async def main():
        world = World()
        world.table(1, route(A))
        world.gone.add(A)
        late = asyncio.create_task(ask(world.routes.route_service(route(A), never)))
        await asyncio.sleep(0.3)
        world.table(2, route(A), Route("/x", "x", {B: 1.0}))
        await asyncio.sleep(0.3)
        world.table(3, route(B))
        assert await late == b"b"

    run(main)


def test_a_listener_gets_every_table(run):
    """A listener gets every table, and first the current one."""

    async def main():
        world = World()
        heard: list[int] = []
        world.routes.listen(lambda table: heard.append(table.version))
        world.table(1)
        world.routes.listen(lambda table: heard.append(-table.version))
        world.table(2)
        assert heard == [1, -1, 2, -2]
        await world.routes.wait_for_version(2)
        late = asyncio.create_task(world.routes.wait_for_version(4))
        world.table(3)
        await asyncio.sleep(1)
        assert not late.done()
        world.table(4)
        await late

    run(main)


def test_a_listener_that_raises_keeps_the_table_from_no_other(run):
    """Nor from calls; its error comes out, so that the table is brought again."""

    async def main():
        world = World()
        heard: list[int] = []

        def fail(table: RouteTable) -> None:
            raise RuntimeError("a listener's bug")

        world.routes.listen(fail)
        world.routes.listen(lambda table: heard.append(table.version))
        service = world.routes.named_service("r")
        with pytest.raises(RuntimeError, match="a listener's bug"):
            world.table(1, route(A))
        assert heard == [1]
        await world.routes.wait_for_version(1)
        assert await ask(service) == b"a"

    run(main)


def test_each_version_of_a_route_has_its_layers(run):
    """Layers are created before a route's first call, kept with its weights, then closed."""

    async def main():
        world = World()
        world.table(1, route(A), Route("/x", "x", {B: 1.0}))
        assert world.log == []
        service = world.routes.named_service("r")
        await ask(service)
        world.table(2, route(A), Route("/y", "y", {B: 1.0}))
        await ask(service)
        assert world.log == [("made", {A: 1.0})]
        world.table(3, route(B))
        assert world.log[1:] == [("replaced", {A: 1.0})]
        await ask(service)
        world.routes.close()
        assert world.log[2:] == [("made", {B: 1.0}), ("left", {B: 1.0})]

    run(main)
