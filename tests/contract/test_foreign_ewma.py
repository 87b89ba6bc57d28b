"""A stranger's routing policy avoids a replica that fails fast, which to others is the best one.

It lies in tests/foreign_plugin_ewma; `nox -s contract` builds and installs it.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.plugins import load_plugins
from alacarte.testing import check_plugin, check_routing_policy, local_instance
from alacarte.types import Call, DeploymentId, DeploymentInfo, Outcome, PolicyContext, ReplicaLoad

pytest.importorskip("peak_ewma", reason="nox -s contract installs tests/foreign_plugin_ewma")
CALLS = 100
WAIT_S = 10.0


@pytest.fixture
def url() -> Iterator[str]:
    """An instance on the local cluster."""
    with local_instance() as url:
        yield url


@serve.deployment(name="Model", num_replicas=2, max_ongoing_requests=20)
class Model:
    """One of its replicas fails at once; the other takes its time."""

    is_broken = False

    async def break_down(self, replica_id: str) -> None:
        self.is_broken = serve.get_replica_context().replica_id == replica_id

    async def who(self) -> str:
        return serve.get_replica_context().replica_id

    async def __call__(self) -> str:
        if self.is_broken:
            raise ValueError("a broken GPU")
        await asyncio.sleep(0.01)
        return "ok"


def with_a_broken_replica(policy: Any) -> Any:
    """Return a handle to two replicas under a policy, of which one has begun to fail."""
    handle = serve.run(Model.options(routing_policy=policy).bind(), name="a", route_prefix="/a")
    names: set[str] = set()
    while len(names) < 2:
        # All at once, so that they do not all go to one.
        names |= {each.result() for each in [handle.who.remote() for _ in range(20)]}
    handle.broadcast("break_down", min(names)).results(timeout_s=WAIT_S)
    return handle


def test_it_keeps_the_rules():
    """`check_plugin` passes, with other parameters too."""
    assert check_plugin("peak-ewma").distribution == "peak-ewma-for-alacarte"
    factory = load_plugins().routing_policies["peak_ewma"]
    check_routing_policy(factory, parameters={"decay_s": 0.1, "failure_s": 0})


def test_handle_calls_avoid_a_replica_that_fails(url):
    """It is tried once, or a few times where calls were sent there at the same moment."""
    handle = with_a_broken_replica("peak_ewma")
    answers: Counter[str] = Counter()
    for _ in range(CALLS):
        try:
            answers[handle.remote().result()] += 1
        except ValueError:
            answers["error"] += 1
    assert answers["error"] <= 2
    assert answers["ok"] == CALLS - answers["error"]


def test_http_requests_avoid_it_too(url):
    """To the router a response of 500 is a failure, though the replica has answered."""
    with_a_broken_replica({"name": "peak_ewma", "decay_s": 30})
    answers: Counter[int] = Counter()
    for _ in range(CALLS):
        try:
            with urllib.request.urlopen(f"{url}/a") as response:
                answers[response.status] += 1
        except urllib.error.HTTPError as error:
            answers[error.code] += 1
    assert answers[500] <= 2
    assert answers[200] == CALLS - answers[500]


def test_parameters_are_checked_when_the_deployment_is_deployed(url):
    """The error names deployment, policy, parameter and value; nothing is deployed."""
    for policy, told in (
        ({"name": "peak_ewma", "decay_s": 0}, "'peak_ewma': decay_s=0 must be greater than 0"),
        ({"name": "peak_ewma", "decay": 1}, "decay is not an option; allowed: decay_s, failure_s"),
        ({"name": "power_of_two", "decay_s": 1}, "takes no parameters; leave out decay_s"),
    ):
        app = Model.options(routing_policy=policy).bind()
        with pytest.raises(ConfigError, match=f"a#Model: routing_policy.*{told}"):
            serve.run(app, name="a")
    assert serve.status().applications == {}


def test_a_failure_is_forgotten():
    """After some time without calls, the replica is tried again."""
    from peak_ewma.config import PeakEwmaParameters
    from peak_ewma.policy import PeakEwma

    now = 0.0
    config: Any = None
    deployment = DeploymentInfo(DeploymentId("a", "Model"))
    parameters = PeakEwmaParameters(decay_s=1.0, failure_s=5.0)
    policy = PeakEwma(PolicyContext(deployment, parameters, config, lambda: now))
    bad, good = ReplicaLoad("bad"), ReplicaLoad("good")
    call = Call("python", ())
    policy.finished(call, bad, Outcome("error", None, "ValueError", None, 0.001))
    policy.finished(call, good, Outcome("success", None, "", 0.1, 0.1))
    assert policy.choose(call, [bad, good]) is good
    now = 10.0
    policy.finished(call, good, Outcome("success", None, "", 0.1, 0.1))
    assert policy.choose(call, [bad, good]) is bad
    policy.left(bad)
    policy.left(good)
    assert not policy._costs
