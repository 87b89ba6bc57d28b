"""The scenario of a run: nodes, applications, operations and requests, drawn from a seed."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from alacarte._model.deployment_spec import DeploymentSpec
from alacarte._model.pickling import dump
from alacarte.config import DeploymentConfig
from alacarte.types import DeploymentId

from .ledger import Request
from .operations import Operation
from .user import Behaviour, Model

__all__ = ["Planned", "Scenario", "Step"]


@dataclass(frozen=True)
class Step:
    """One step of a driver.

    Attributes:
        at: Seconds after the start of the run.
        driver: Index of the driver; each driver takes its steps in order.
    """

    at: float
    driver: int
    op: Operation


@dataclass(frozen=True)
class Planned:
    """A planned request: its time, its caller, and its duration at the replica."""

    at: float
    caller: int
    request: Request
    work_s: float


@dataclass
class Scenario:
    """A plan, drawn from a seed.

    Attributes:
        nodes: CPUs of each node.
        calm: The run has no faults, so no failure is excused.
        most: Largest number of replicas wanted at the same time.
        ends_at: Time after the last operation and the last fault.
    """

    nodes: list[float]
    calm: bool
    ends_at: float
    drivers: int
    callers: int
    most: int = 0
    steps: list[Step] = field(default_factory=list)
    requests: list[Planned] = field(default_factory=list)

    @classmethod
    def draw(cls, chance: random.Random) -> Scenario:
        """Draw a plan."""
        ends_at = chance.choice((5.0, 8.0, 15.0))
        scenario = cls(
            nodes=[chance.choice((3.0, 4.0, 8.0)) for _ in range(chance.choice((1, 2, 3)))],
            calm=chance.random() < 0.2,
            ends_at=ends_at,
            drivers=chance.choice((1, 1, 2)),
            callers=chance.choice((1, 2)),
        )
        ids = []
        for number in range(chance.choice((1, 2, 2))):
            app = _App(f"app{number}", chance)
            ids += app.ids
            driver = number % scenario.drivers
            times = sorted(chance.uniform(1.0, ends_at) for _ in range(chance.choice((1, 2, 3))))
            scenario.most += 3 * len(app.ids)
            for at in (0.0, *times):
                scenario.steps.append(Step(at, driver, app.next_op(first=not at)))
        # Room for all that is ever wanted, though not always for all that an update wants beside.
        while sum(scenario.nodes) < scenario.most:
            scenario.nodes.append(4.0)
        scenario.steps.sort(key=lambda step: step.at)
        count = chance.choice((20, 40, 60))
        for number in range(count):
            request = Request(
                number,
                chance.choice(ids),
                timeout_s=chance.choice((None, None, None, 5.0, 20.0)),
                idempotent=chance.random() < 0.25,
            )
            at = chance.uniform(0.5, ends_at + 2.0)
            work_s = chance.choice((0.001, 0.01, 0.05, 0.2, 0.2, 1.0))
            caller = chance.randrange(scenario.callers)
            scenario.requests.append(Planned(at, caller, request, work_s))
        scenario.requests.sort(key=lambda planned: planned.at)
        return scenario


class _App:
    """One application with its successive versions."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.ids = [DeploymentId(name, f"d{i}") for i in range(chance.choice((1, 1, 2)))]
        self._chance = chance
        self._number = 0
        self._scaled = {each for each in self.ids if chance.random() < 0.25}
        self._behaviours: dict[DeploymentId, Behaviour] = {}
        self._configs: dict[DeploymentId, DeploymentConfig] = {}
        self._options: dict[DeploymentId, dict[str, Any]] = {}
        self._scaling: dict[DeploymentId, dict[str, Any]] = {}

    def next_op(self, *, first: bool) -> Operation:
        draw = self._chance.random()
        if not first and draw < 0.12:
            self._behaviours.clear()
            return Operation(self.name, None)
        for deployment in self.ids:
            if deployment not in self._behaviours or draw < 0.75:
                # What is scaled may have no replica, and nothing to show that it does not start.
                may_fail = not first and deployment not in self._scaled
                self._new_code(deployment, may_fail=may_fail)
            if deployment not in self._configs or draw > 0.5:
                self._new_config(deployment)
        specs = tuple(self._spec(deployment) for deployment in self.ids)
        failing = {key for key, each in self._behaviours.items() if each.start != "good"}
        return Operation(self.name, specs, frozenset(failing))

    def _new_code(self, deployment: DeploymentId, *, may_fail: bool) -> None:
        self._number += 1
        start = "raises" if may_fail and self._chance.random() < 0.25 else "good"
        self._behaviours[deployment] = Behaviour(
            self._number, start, self._chance.choice((0.0, 0.01, 0.2, 1.0))
        )

    def _new_config(self, deployment: DeploymentId) -> None:
        choice = self._chance.choice
        self._options[deployment] = {"mark": {"number": choice((1, 2, 3))}}
        scaling = self._scaling[deployment] = {}
        if deployment in self._scaled:
            scaling["autoscaling"] = {
                "min_replicas": choice((0, 1)),
                "max_replicas": 3,
                "target_ongoing_requests": 1.0,
                "look_back_period_s": 2.0,
                "upscale_delay_s": choice((0.0, 0.5)),
                "downscale_delay_s": choice((1.0, 4.0)),
            }
        self._configs[deployment] = DeploymentConfig(
            num_replicas=1 if deployment in self._scaled else choice((1, 1, 2, 2, 3)),
            max_ongoing_requests=choice((1, 2, 5)),
            max_queued_requests=choice((-1, -1, 1024)),
            user_config=choice((None, 1, 2)),
            graceful_shutdown_timeout_s=choice((5.0, 20.0)),
            health_check_period_s=choice((2.0, 5.0)),
            health_check_timeout_s=choice((1.0, 4.0)),
            max_constructor_retry_count=3,
        )

    def _spec(self, deployment: DeploymentId) -> DeploymentSpec:
        behaviour = self._behaviours[deployment]
        return DeploymentSpec(
            deployment,
            f"{deployment}-{behaviour.number}",
            _code(),
            pickle.dumps(((behaviour,), {})),
            False,
            self._configs[deployment],
            options=self._options[deployment],
            scaling=self._scaling[deployment],
        )


@cache
def _code() -> bytes:
    return dump(Model, _never)


def _never(_: object) -> DeploymentId:
    raise AssertionError("the model binds no application")
