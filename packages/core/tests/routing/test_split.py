"""A route with several targets: the chosen target, and the layers around its calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from alacarte._routing.split import Split
from alacarte.errors import DeploymentUnavailableError
from alacarte.types import Call, DeploymentId, Reply, Route, Service

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


class Far:
    """All deployments: each replies with its name, or fails as the test says."""

    def __init__(self) -> None:
        self.got: dict[DeploymentId, list[Call]] = {A: [], B: []}
        self.does: dict[DeploymentId, Any] = {}
        self.successor: Any = None

    def service(self, deployment: DeploymentId) -> Service:
        async def serve(call: Call) -> Reply:
            self.got[deployment].append(call)
            if deployment in self.does:
                await self.does[deployment](call)
            return Reply((deployment.app.encode(),))

        return serve


class Layer:
    """A `RouteLayer` that records its calls."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name = name
        self.log = log

    def wrap(self, service: Service, failed: Callable[[Reply], bool]) -> Service:
        return self.noting(service, "route", failed)

    def wrap_target(
        self, target: DeploymentId, service: Service, failed: Callable[[Reply], bool]
    ) -> Service:
        return self.noting(service, target.name, failed)

    def close(self, *, replaced: bool) -> None:
        self.log.append((self.name, "close", replaced))

    def noting(self, service: Service, place: str, failed: Any) -> Service:
        async def serve(call: Call) -> Reply:
            self.log.append((self.name, place, "begin"))
            try:
                reply = await service(call)
            except Exception as error:
                self.log.append((self.name, place, type(error).__name__))
                raise
            self.log.append((self.name, place, failed(reply)))
            return reply

        return serve


@pytest.fixture
def far() -> Far:
    return Far()


def split(
    far: Far, draws: tuple[float, ...] = (), layers: tuple[Layer, ...] = (), **options: Any
) -> Split:
    route = Route("/r", "r", **{"targets": {A: 0.75, B: 0.25}, "name": "r", **options})
    rest = deque(draws)

    async def successor(split: Split, target: DeploymentId, failed: Any) -> Any:
        return far.successor

    return Split(route, far.service, layers, successor, lambda: rest.popleft() if rest else 0.0)


def call(**options: Any) -> Call:
    return Call("p", (b"payload",), **options)


def fine(reply: Reply) -> bool:
    return False


async def gone(call: Call) -> None:
    raise DeploymentUnavailableError("a#A", "it was deleted")


def test_each_call_takes_a_target(run, far):
    """The draw decides the target, and the call then belongs to the target's application."""

    async def main():
        service = split(far, (0.0, 0.74, 0.76, 0.99)).service(fine)
        calls = [call(app="r"), call(app="other"), call(app="r"), call()]
        answers = [(await service(each)).payload[0] for each in calls]
        assert answers == [b"a", b"a", b"b", b"b"]
        # One that entered through somebody else's route stays in that application.
        assert [each.app for each in calls] == ["a", "other", "b", ""]

    run(main)


def test_a_key_sticks(run, far):
    """Without a draw."""

    async def main():
        route = split(far)
        route._draw = None  # type: ignore[assignment]
        service = route.service(fine)
        for key in "abcdefgh":
            replies = [await service(call(routing_key=key)) for _ in range(3)]
            assert len({reply.payload[0] for reply in replies}) == 1
        assert far.got[A]
        assert far.got[B]

    run(main)


def test_layers_stand_around_the_route_and_each_target(run, far):
    """The first is outermost in both places; each user's own notion of failure is theirs."""
    log: list[Any] = []

    async def main():
        route = split(far, (0.0, 0.9), (Layer("one", log), Layer("two", log)))
        await route.service(fine)(call())
        assert log == [
            ("one", "route", "begin"),
            ("two", "route", "begin"),
            ("one", "A", "begin"),
            ("two", "A", "begin"),
            ("two", "A", False),
            ("one", "A", False),
            ("two", "route", False),
            ("one", "route", False),
        ]
        log.clear()
        await route.service(lambda reply: reply.payload[0] == b"b")(call())
        assert log[-2:] == [("two", "route", True), ("one", "route", True)]
        log.clear()
        route.close(replaced=True)
        assert log == [("one", "close", True), ("two", "close", True)]

    run(main)


def test_a_call_of_a_target_that_is_gone(run, far):
    """The call follows the newer route, and no layer of that route shadows it again."""
    log: list[Any] = []

    async def main():
        far.does[A] = gone
        service = split(far, layers=(Layer("one", log),)).service(fine)
        with pytest.raises(DeploymentUnavailableError):
            await service(call())
        far.successor = Route("/r", "r2", {B: 1.0}), far.service(B)
        log.clear()
        request = call(app="r")
        assert (await service(request)).payload == (b"b",)
        assert (request.app, request.no_shadow) == ("r2", True)
        assert log == [
            ("one", "route", "begin"),
            ("one", "A", "begin"),
            ("one", "A", "DeploymentUnavailableError"),
            ("one", "route", False),
        ]

    run(main)


def test_a_call_whose_nested_call_was_unavailable(run, far):
    """User code has run, so the call is not sent again, even if the route has changed."""

    async def inner(call: Call) -> None:
        raise DeploymentUnavailableError("other#X", "it was deleted")

    async def main():
        far.does[A] = inner
        far.successor = Route("/r", "r2", {B: 1.0}), far.service(B)
        with pytest.raises(DeploymentUnavailableError, match="other#X"):
            await split(far).service(fine)(call())
        assert not far.got[B]

    run(main)
