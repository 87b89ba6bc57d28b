"""The operations of a scenario's drivers, and the states that they allow at any time."""

from __future__ import annotations

from dataclasses import dataclass, field

from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.types import DeploymentId

__all__ = ["Operation", "Operations", "bounds"]


@dataclass(eq=False)
class Operation:
    """One operation of a driver.

    Attributes:
        app: Name of the application.
        specs: The application's new deployments; None to delete it.
        failing: Deployments whose replicas do not start.
        begun_at: Time of the first attempt.
        stored_at: Time at which the controller had stored the change, -1 before.
        done_at: Time at which the driver got the result, -1 before.
    """

    app: str
    specs: tuple[DeploymentSpec, ...] | None
    failing: frozenset[DeploymentId] = frozenset()
    begun_at: float = -1.0
    stored_at: float = -1.0
    done_at: float = -1.0

    @property
    def is_valid(self) -> bool:
        """Whether all replicas of the operation can start."""
        return not self.failing

    def spec(self, deployment: DeploymentId) -> DeploymentSpec | None:
        for spec in self.specs or ():
            if spec.id == deployment:
                return spec
        return None


def bounds(spec: DeploymentSpec) -> tuple[int, int]:
    """Return the fewest and the most replicas that a spec asks for."""
    scaling = spec.scaling.get("autoscaling")
    if scaling is None:
        return spec.config.num_replicas, spec.config.num_replicas
    return scaling["min_replicas"], scaling["max_replicas"]


@dataclass
class Operations:
    """All that was asked for, by application, oldest first."""

    ops: dict[str, list[Operation]] = field(default_factory=dict)

    def begin(self, op: Operation, now: float) -> None:
        op.begun_at = now
        self.ops.setdefault(op.app, []).append(op)

    def last(self, app: str) -> Operation | None:
        return self.ops[app][-1] if self.ops.get(app) else None

    def possible(self, app: str, since: float) -> list[Operation]:
        """Return the specs that may have been in force at any time since `since`.

        These are all later operations, the last one stored by then, and the ones begun after that.
        """
        found: list[Operation] = []
        for op in reversed(self.ops.get(app, ())):
            found.append(op)
            if 0 <= op.stored_at < since:
                break
        return found

    def lowest(self, deployment: DeploymentId, since: float) -> int | None:
        """Return the fewest replicas that may have been wanted since then, None for none at all."""
        fewest: int | None = None
        for op in self.possible(deployment.app, since):
            spec = op.spec(deployment)
            if spec is None:
                return None
            wanted = bounds(spec)[0]
            fewest = wanted if fewest is None else min(fewest, wanted)
        return fewest

    def highest(self, deployment: DeploymentId, since: float) -> int:
        """Return the most replicas that may have been wanted since then."""
        specs = [op.spec(deployment) for op in self.possible(deployment.app, since)]
        return max((bounds(spec)[1] for spec in specs if spec is not None), default=0)

    def follows_load(self, deployment: DeploymentId) -> bool:
        """Whether the deployment's number of replicas follows its load."""
        op = self.last(deployment.app)
        spec = op and op.spec(deployment)
        return spec is not None and bool(spec.scaling)

    def may_be_absent(self, deployment: DeploymentId, since: float) -> bool:
        """Whether a caller may see the deployment as absent, now or since `since`."""
        ops = self.ops.get(deployment.app, [])
        known = False
        for op in reversed(ops):
            if op.spec(deployment) is None:
                return True
            if 0 <= op.done_at < since or (
                deployment not in op.failing and 0 <= op.stored_at < since
            ):
                known = True
                break
        return not known

    def may_have_failed(self, deployment: DeploymentId, since: float) -> bool:
        """Whether a version that does not start may have been in force since then."""
        return any(deployment in op.failing for op in self.possible(deployment.app, since))

    def oldest_version(self, deployment: DeploymentId, at: float) -> int:
        """Return the oldest version that may answer a request of that time."""
        for op in reversed(self.ops.get(deployment.app, [])):
            spec = op.spec(deployment)
            if spec is not None and op.is_valid and 0 <= op.done_at < at:
                return int(spec.version.rpartition("-")[2])
        return 0
