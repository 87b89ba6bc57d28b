from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from alacarte._control.scaling import SCALER_KEY
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId, DeploymentInfo, ProcessId
from alacarte_autoscaling._load_reports import LoadReport
from alacarte_autoscaling._scaler import LoadScaler
from alacarte_autoscaling.config import AutoscalingConfig
from alacarte_autoscaling.types import AutoscalingContext, ScalingPolicyFactory

from .context_support import Context, deployment

WHO = DeploymentId("app", "D")


class ByLoad:
    def decide(self, context: AutoscalingContext) -> float:
        return context.total_num_requests / context.config.target_ongoing_requests


class Cluster:
    """A durable store, and actors without behavior."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.actors: list[str] = []

    async def get(self, key: str) -> bytes | None:
        return self.data.get(key)

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.sleep(0.001)
        self.data[key] = value

    async def delete(self, key: str) -> None:
        self.data.pop(key, None)

    async def list_actors(self, prefix: str) -> list[str]:
        return [name for name in self.actors if name.startswith(prefix)]

    async def find_actor(self, name: str) -> Any:
        return SimpleNamespace(name=name, kill=lambda: self.actors.remove(name))


class Controller:
    """A controller that applies counts at once."""

    def __init__(self, cluster: Any, recovered: bytes | None = None) -> None:
        factories = {"default": ScalingPolicyFactory("default", lambda kwargs: ByLoad())}
        context = Context(cluster, self.act, recovered, factories)
        self.intake = context.intake
        self.scaling = LoadScaler(context)
        self.scaling.start()
        self.numbers: list[int] = []

    def act(self, deployment: DeploymentId, number: int) -> None:
        self.numbers.append(number)
        self.scaling.running(deployment, number)

    def want(self, spec: DeploymentInfo, current: int | None) -> int | None:
        number = self.scaling.want(spec, current)
        if number is not None:
            self.scaling.running(spec.id, number)
        return number

    async def hold(self, asked: int, seconds: float) -> None:
        for _ in range(int(seconds)):
            report = LoadReport(WHO, 0, asked, asked, asked, asked, 1.0)
            self.intake.report(ProcessId("p", "", ""), (report,))
            await asyncio.sleep(1)


def spec(**scaling: Any) -> DeploymentInfo:
    given = {"max_replicas": 10, "upscale_delay_s": 2, "downscale_delay_s": 3, **scaling}
    return deployment(WHO, AutoscalingConfig(**given))


def fixed() -> DeploymentInfo:
    return deployment(WHO, None)


def test_the_number_survives_the_controller():
    """A restarted controller keeps the number until every process has had time to report."""

    async def main() -> None:
        cluster = Cluster()
        first = Controller(cluster)
        assert first.want(spec(look_back_period_s=1), None) == 1
        await first.hold(12, 10)
        assert first.numbers[-1] == 6
        # Killed here: what it had in mind is gone.
        first.scaling._loop.forget(WHO)
        second = Controller(cluster, cluster.data[SCALER_KEY])
        assert second.want(spec(look_back_period_s=1), None) == 6
        await asyncio.sleep(9)
        assert set(second.numbers) <= {6}
        await asyncio.sleep(10)
        assert second.numbers[-1] == 1
        await second.scaling.close()
        assert SCALER_KEY not in cluster.data

    FakeClock().run(main())


def test_a_former_controllers_policies_end():
    """The policy process ends when no deployment uses a user's policy."""

    async def main() -> None:
        cluster = Cluster()
        cluster.actors = [
            "alacarte:x:helpers:abc",
            "alacarte:x:replica:r",
            "alacarte:y:helpers:d",
        ]
        controller = Controller(cluster, b"")
        await asyncio.sleep(40)
        assert cluster.actors == ["alacarte:x:replica:r", "alacarte:y:helpers:d"]
        await controller.scaling.close()

    FakeClock().run(main())


def test_from_fixed_to_scaled_and_back():
    """A fixed number is the start of autoscaling; a fixed number afterwards removes the count."""

    async def main() -> None:
        controller = Controller(Cluster())
        assert controller.want(fixed(), None) is None
        assert controller.want(spec(), 4) == 4
        await asyncio.sleep(1)
        assert controller.want(fixed(), 4) is None
        assert controller.want(spec(initial_replicas=3), 2) == 3
        controller.scaling.forget(WHO)
        assert controller.want(spec(), None) == 1
        await controller.scaling.close()

    FakeClock().run(main())


def test_the_same_again_does_not_disturb():
    """An unchanged redeploy keeps the known load."""

    async def main() -> None:
        controller = Controller(Cluster())
        controller.want(spec(look_back_period_s=1), None)
        await controller.hold(12, 10)
        assert controller.want(spec(look_back_period_s=1), 6) == 6
        await controller.hold(12, 30)
        assert controller.numbers[-1] == 6
        assert max(controller.numbers) == 6
        await controller.scaling.close()

    FakeClock().run(main())
