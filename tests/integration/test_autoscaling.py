"""Replicas that follow the load, on Ray: through the death of the controller, and of a policy."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.instance import Instance, free_port

from alacarte import serve
from alacarte.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy
from alacarte.status import DeploymentStatusOverview
from alacarte.testing import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
WAIT_S = 60
QUICK = {
    "max_replicas": 3,
    "target_ongoing_requests": 1,
    "look_back_period_s": 0.5,
    "upscale_delay_s": 0.2,
    "downscale_delay_s": 0.3,
}


@serve.deployment(max_ongoing_requests=2, ray_actor_options={"num_cpus": 0})
class Worker:
    async def __call__(self, path: str, number: int) -> int:
        while not os.path.exists(path):
            await asyncio.sleep(0.02)
        return number


@pytest.fixture(scope="module")
def instance(ray_address: str) -> Iterator[Instance]:
    serve.start(cluster="ray", http_options={"port": free_port()})
    here = Instance("ray")
    yield here
    serve.shutdown()
    here.assert_gone()


def deployment(app: str = "default") -> DeploymentStatusOverview:
    return serve.status().applications[app].deployments["Worker"]


def running(app: str = "default") -> int:
    return deployment(app).replica_states.get("RUNNING", 0)


def scaled(**scaling: Any) -> Any:
    config = AutoscalingConfig(**{**QUICK, **scaling})
    return Worker.options(autoscaling_config=config).bind()


def test_from_none_to_some_and_back(here: Instance, tmp_path: Path):
    """The first request starts a replica, more start more; a new controller goes on; all answer."""
    import ray

    gate = tmp_path / "gate"
    handle = serve.run(scaled(min_replicas=0), route_prefix=None)
    assert running() == 0
    asked = [handle.remote(str(gate), number) for number in range(12)]
    wait_until(lambda: running() == 3, WAIT_S)
    before = {replica.replica_id for replica in deployment().replicas}
    ray.kill(ray.get_actor("alacarte:controller", namespace="alacarte"), no_restart=False)
    assert running() == 3
    # Longer than the delays: without the load's history it must not shrink.
    end = time.monotonic() + 2
    wait_until(lambda: time.monotonic() > end)
    assert {replica.replica_id for replica in deployment().replicas} == before
    gate.touch()
    assert [each.result(timeout_s=WAIT_S) for each in asked] == list(range(12))
    wait_until(lambda: not deployment().replica_states, WAIT_S)
    assert handle.remote(str(gate), 5).result(timeout_s=WAIT_S) == 5


def test_policies_have_a_process_of_their_own(here: Instance, tmp_path: Path):
    """One that ends it is named, and takes no other one's answer with it; it leaves with them."""
    import ray

    ill = tmp_path / "ill"

    class Plus:
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self, context: AutoscalingContext) -> int:
            return self.number

    def ends(context: AutoscalingContext) -> int:
        if not ill.exists():
            return 2
        os._exit(3)

    killing = AutoscalingPolicy(policy_function=ends)
    sound = AutoscalingPolicy(policy_function=Plus, policy_kwargs={"number": 2})
    serve.run(scaled(policy=killing), name="killing", route_prefix=None)
    serve.run(scaled(policy=sound), name="sound", route_prefix=None)
    wait_until(lambda: running("killing") == running("sound") == 2, WAIT_S)
    ill.touch()
    told = wait_until(lambda: deployment("killing").message, WAIT_S)
    assert "ended during the decision" in told
    assert "ends failed" in told
    sound = AutoscalingPolicy(policy_function=Plus, policy_kwargs={"number": 3})
    serve.run(scaled(policy=sound), name="sound", route_prefix=None)
    wait_until(lambda: running("sound") == 3, WAIT_S)
    assert deployment("sound").message == ""
    assert running("killing") == 2
    ill.unlink()
    # Whoever deploys again need not wait until a failed policy is asked the next time.
    serve.run(scaled(policy=killing), name="killing", route_prefix=None)
    assert running("killing") == 2
    assert deployment("killing").message == ""

    def processes() -> list[str]:
        found = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in found if ":helpers:" in actor["name"]]

    assert len(processes()) == 1
    serve.delete("killing")
    serve.delete("sound")
    wait_until(lambda: not processes(), WAIT_S)
