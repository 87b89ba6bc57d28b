"""Core, handles and autoscaling: from none to some to none, by load alone."""

import asyncio
import time

from checks import done, installed, running, without_ray

from alacarte import serve

installed("autoscaling", "handles")
serve.start(cluster="local")


@serve.deployment(
    autoscaling_config={
        "min_replicas": 0,
        "max_replicas": 3,
        "target_ongoing_requests": 1,
        "look_back_period_s": 0.5,
        "upscale_delay_s": 0.2,
        "downscale_delay_s": 0.5,
    }
)
class Sleeper:
    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0.1)
        return number


def replicas() -> int:
    sleeper = serve.status().applications["default"].deployments["Sleeper"]
    return sleeper.replica_states.get("RUNNING", 0)


handle = serve.run(Sleeper.bind())
running()
assert replicas() == 0
limit = time.monotonic() + 60
while replicas() < 3:
    assert time.monotonic() < limit, serve.status()
    asked = [handle.remote(number) for number in range(12)]
    assert [each.result(timeout_s=30) for each in asked] == list(range(12))
while replicas():
    assert time.monotonic() < limit, serve.status()
    time.sleep(0.01)
running()
serve.shutdown()
without_ray()
done()
