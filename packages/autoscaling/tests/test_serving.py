"""Deployments that scale, on the local cluster: nothing is lost on the way up, down, or from none.

With core and this package alone: calls are made as packages make them, through the runtime.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from alacarte import serve
from alacarte.calls import python_call, python_result
from alacarte.errors import ConfigError
from alacarte.runtime import get_runtime
from alacarte.status import DeploymentStatusOverview
from alacarte.testing import local_instance, wait_until
from alacarte.types import DeploymentId
from alacarte_autoscaling.config import AutoscalingConfig, AutoscalingPolicy
from alacarte_autoscaling.replay import read_trace, replay
from alacarte_autoscaling.types import AutoscalingContext

HERE = DeploymentId("default", "Worker")
QUICK = {
    "target_ongoing_requests": 1,
    "look_back_period_s": 0.3,
    "upscale_delay_s": 0.1,
    "downscale_delay_s": 0.2,
}
PATIENCE_S = 40.0
GATE = threading.Event()


@serve.deployment(max_ongoing_requests=2, health_check_period_s=100)
class Worker:
    async def __call__(self, number: int = 0) -> int:
        while not GATE.is_set():
            await asyncio.sleep(0.005)
        return number


@pytest.fixture(autouse=True)
def instance(alone: None) -> Iterator[None]:
    GATE.clear()
    with local_instance():
        yield
        GATE.set()


def ask(number: int = 0, where: DeploymentId = HERE) -> Future[Any]:
    runtime = get_runtime()

    async def call() -> Any:
        return python_result(await runtime.service(where)(python_call("__call__", (number,), {})))

    return runtime.submit(call())


def deployment(name: str = "Worker") -> DeploymentStatusOverview:
    application = serve.status().applications["default"]
    assert application.status == "RUNNING", application
    return application.deployments[name]


def running(name: str = "Worker") -> int:
    return deployment(name).replica_states.get("RUNNING", 0)


def comes_to(number: int, name: str = "Worker") -> None:
    def is_it() -> bool:
        found = deployment(name)
        return found.replica_states == ({"RUNNING": number} if number else {})

    wait_until(is_it, PATIENCE_S, f"{number} replicas of {name}")


def scaled(**scaling: Any) -> Any:
    return Worker.options(autoscaling_config={**QUICK, **scaling}).bind()


def test_replicas_follow_the_load() -> None:
    """Replicas follow the number of requests up and down, and every request is answered."""
    serve.run(scaled(min_replicas=1, max_replicas=4))
    assert running() == 1
    asked = [ask(number) for number in range(30)]
    seen = set()

    def told() -> bool:
        found = deployment()
        seen.add((found.status, found.status_trigger))
        return found.replica_states.get("RUNNING", 0) == 4

    wait_until(told, PATIENCE_S)
    # The replicas may come too fast for the status in between to be seen.
    assert seen <= {
        ("HEALTHY", "CONFIG_UPDATE_COMPLETED"),
        ("UPSCALING", "AUTOSCALING"),
        ("HEALTHY", "UPSCALE_COMPLETED"),
    }
    GATE.set()
    assert [each.result(PATIENCE_S) for each in asked] == list(range(30))
    comes_to(1)
    assert (deployment().status, deployment().status_trigger) == ("HEALTHY", "DOWNSCALE_COMPLETED")


def test_none_at_all() -> None:
    """Without load no replica runs; the first requests wait for a replica and are answered."""
    GATE.set()
    serve.run(scaled(min_replicas=0, max_replicas=3, upscale_delay_s=100))
    for _ in range(2):
        assert running() == 0
        asked = [ask(number) for number in range(20)]
        assert [each.result(PATIENCE_S) for each in asked] == list(range(20))
        comes_to(0)
    assert deployment().status == "HEALTHY"


def test_scaling_down_loses_nothing() -> None:
    """Requests are answered while replicas stop."""
    GATE.set()
    serve.run(scaled(min_replicas=1, max_replicas=4, initial_replicas=4, downscale_delay_s=0))
    answered = 0
    while running() > 1 or answered < 100:
        assert ask(answered).result(PATIENCE_S) == answered
        answered += 1


def test_a_redeploy_keeps_the_number() -> None:
    """A repeated deploy changes nothing, new bounds apply, and a fixed number ends autoscaling."""
    slow = {"max_replicas": 5, "downscale_delay_s": 600}
    serve.run(scaled(initial_replicas=3, **slow))
    assert running() == 3
    serve.run(scaled(initial_replicas=3, **slow))
    assert running() == 3
    serve.run(scaled(initial_replicas=3, **slow, min_replicas=1, look_back_period_s=2))
    assert running() == 3
    serve.run(scaled(**slow | {"max_replicas": 2}))
    comes_to(2)
    serve.run(Worker.options(num_replicas=1).bind())
    comes_to(1)
    serve.run(scaled(**slow))
    comes_to(1)
    serve.delete("default")
    serve.run(scaled(min_replicas=2, **slow))
    assert running() == 2


def test_auto() -> None:
    """`num_replicas="auto"` starts with one replica, and scales up with the load."""
    quick = {**QUICK, "max_replicas": 3}
    serve.run(Worker.options(num_replicas="auto", autoscaling_config=quick).bind())
    assert running() == 1
    asked = [ask(number) for number in range(6)]
    comes_to(3)
    GATE.set()
    assert [each.result(PATIENCE_S) for each in asked] == list(range(6))


def by(policy: Any, **kwargs: Any) -> AutoscalingPolicy:
    return AutoscalingPolicy(policy_function=policy, policy_kwargs=kwargs)


def policy_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("policy-")]


def test_a_policy_of_the_users() -> None:
    """A class is made with its arguments and asked; it ends with its deployment."""

    class Fixed:
        def __init__(self, number: int) -> None:
            self.number = number

        async def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
            return self.number, {}

    serve.run(scaled(max_replicas=5, policy=by(Fixed, number=3)))
    comes_to(3)
    assert policy_threads() == ["policy-default#Worker"]
    serve.run(scaled(max_replicas=5, policy=by(Fixed, number=2)))
    comes_to(2)
    serve.delete("default")
    wait_until(lambda: not policy_threads(), PATIENCE_S)


@serve.deployment(autoscaling_config={**QUICK, "max_replicas": 3})
class Other:
    def __init__(self, worker: Any = None) -> None:
        pass

    async def __call__(self, number: int) -> int:
        while not GATE.is_set():
            await asyncio.sleep(0.005)
        return number


def test_another_policy_of_the_same_name_takes_over() -> None:
    """A redeploy changes the policy in place, without replacing replicas."""

    def policy(number: int) -> Any:
        def wanted(context: AutoscalingContext) -> int:
            return number

        return wanted

    GATE.set()
    at_once = {"upscale_delay_s": 0, "downscale_delay_s": 0, "max_replicas": 5}
    serve.run(scaled(**at_once, policy=by(policy(2))))
    comes_to(2)
    before = {replica.replica_id for replica in deployment().replicas}
    serve.run(scaled(**at_once, policy=by(policy(3))))
    comes_to(3)
    assert before < {replica.replica_id for replica in deployment().replicas}


def test_a_policy_that_fails_is_named() -> None:
    """A broken policy shows in its deployment's status; cold starts and other deployments work."""

    def broken(context: AutoscalingContext) -> float:
        raise ZeroDivisionError("no such luck")

    serve.run(scaled(min_replicas=0, initial_replicas=1, max_replicas=3, policy=by(broken)))
    serve.run(Other.bind(), name="other", route_prefix=None)
    told = wait_until(lambda: deployment().message, PATIENCE_S)
    assert "its autoscaling policy" in told
    assert "broken failed" in told
    assert "ZeroDivisionError: no such luck" in told
    assert "test_serving.py" in told
    asked = [ask(number, DeploymentId("other", "Other")) for number in range(6)]

    def other() -> int:
        states = serve.status().applications["other"].deployments["Other"].replica_states
        return states.get("RUNNING", 0)

    wait_until(lambda: other() == 3, PATIENCE_S)
    assert running() == 1
    assert deployment().status == "HEALTHY"
    GATE.set()
    assert [each.result(PATIENCE_S) for each in asked] == list(range(6))
    serve.run(scaled(min_replicas=1, max_replicas=3, policy=by(lambda context: 2)))
    comes_to(2)
    assert deployment().message == ""


def test_a_recorded_load_replays(tmp_path: Path) -> None:
    """A replay of a recording yields the numbers of the real deployment."""
    path = tmp_path / "load.jsonl"
    recorder = by("alacarte_autoscaling:Recorder", path=str(path))
    serve.run(scaled(max_replicas=4, policy=recorder))
    asked = [ask(number) for number in range(12)]
    comes_to(4)
    GATE.set()
    assert [each.result(PATIENCE_S) for each in asked] == list(range(12))
    comes_to(1)
    wait_until(lambda: path.read_text().splitlines()[-1].endswith('"running": 0}'), PATIENCE_S)
    config = AutoscalingConfig(**{**QUICK, "max_replicas": 4})  # type: ignore[arg-type]
    with path.open() as lines:
        numbers = [step.number for step in replay(read_trace(lines), config)]
    assert (numbers[0], max(numbers), numbers[-1]) == (1, 4, 1)


def test_what_nobody_gives_is_refused() -> None:
    """An unknown policy is refused by `serve.run`, and the running version stays."""
    serve.run(Worker.options(num_replicas=1).bind())
    with pytest.raises(
        ConfigError, match=r"no installed plugin registers .* 'mine'.*\['default'\]"
    ):
        serve.run(scaled(policy=by("mine")))
    with pytest.raises(ConfigError, match="'default' refuses .*speed"):
        serve.run(scaled(policy=by("default", speed=3)))
    assert running() == 1
