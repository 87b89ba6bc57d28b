"""What the drivers of a scenario asked for, and what may be expected of it at any time."""

from __future__ import annotations

from dataclasses import dataclass, field

from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.types import DeploymentId

__all__ = ["Op", "Wishes", "bounds"]


@dataclass(eq=False)
class Op:
    """One thing that a driver asked for.

    Attributes:
        app: Which application it is about.
        specs: What it is to become; None for nothing.
        failing: Deployments whose replicas do not start.
        begun_at: When it was asked for first.
        stored_at: When the controller had stored it, -1 before.
        done_at: When the driver was told that it is so, -1 before.
    """

    app: str
    specs: tuple[DeploymentSpec, ...] | None
    failing: frozenset[DeploymentId] = frozenset()
    begun_at: float = -1.0
    stored_at: float = -1.0
    done_at: float = -1.0

    @property
    def is_valid(self) -> bool:
        """All of it can be."""
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
class Wishes:
    """All that was asked for, by application, oldest first."""

    ops: dict[str, list[Op]] = field(default_factory=dict)

    def begin(self, op: Op, now: float) -> None:
        op.begun_at = now
        self.ops.setdefault(op.app, []).append(op)

    def last(self, app: str) -> Op | None:
        return self.ops[app][-1] if self.ops.get(app) else None

    def possible(self, app: str, since: float) -> list[Op]:
        """Return what may have been in force at any time since then.

        That is all that came later, and what was in force before: the last that was stored by
        then, and what was asked for after it.
        """
        found: list[Op] = []
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
        """Whether the number of its replicas is what the load makes of it."""
        op = self.last(deployment.app)
        spec = op and op.spec(deployment)
        return spec is not None and bool(spec.scaling)

    def may_be_absent(self, deployment: DeploymentId, since: float) -> bool:
        """Whether a caller may think that there is no such deployment, or may have since then."""
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
