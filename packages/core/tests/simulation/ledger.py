"""The invariants of the system, checked from outside of its processes.

The ledger observes every event when it happens: it knows which replica a request reached, and which
deaths were injected faults. It records violations; a run without findings is good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from alacarte._control.storage import STATE_KEY, assemble, decode_index
from alacarte._process.controller_client import CONTROLLER_NAME
from alacarte.actors import DeploymentSnapshot
from alacarte.errors import (
    BackPressureError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from alacarte.types import DeploymentId

from .cluster import Record, SimCluster
from .loop import Process
from .operations import Operation, Operations

__all__ = ["Ledger", "Replica", "Request"]

NOTICED_S = 2.0
"""How long a death may go unnoticed."""
LONGEST_GRACE_S = 21.0
"""What scenarios give a replica at most to finish its requests, and a little more."""
HEARD_S = 30.0
"""While faults are about."""


@dataclass(eq=False)
class Replica:
    """One replica, as it really is. A `Place` of user code.

    Attributes:
        ready_at: Time at which the constructor had returned and the replica listened, -1 before.
        leaves_at: Time of the request to drain, -1 before.
        most: Limit of concurrent requests; the higher of two during a change.
        sick: The health check fails.
    """

    ledger: Ledger
    record: Record
    replica_id: str
    deployment: DeploymentId
    version: str
    most: int
    ready_at: float = -1.0
    leaves_at: float = -1.0
    died_at: float = -1.0
    sick: bool = False
    running: set[int] = field(default_factory=set)

    @property
    def serves(self) -> bool:
        process = self.record.process
        return self.ready_at >= 0 > self.leaves_at and process is not None and not process.frozen

    @property
    def seems_to_serve(self) -> bool:
        """Whether the replica serves as far as the controller may know."""
        recently = self.died_at < 0 or self.ledger.now() - self.died_at < NOTICED_S
        return self.ready_at >= 0 > self.leaves_at and recently

    @property
    def stays(self) -> bool:
        """Whether the replica's node stays."""
        node = self.record.node
        return node is not None and node.leaves_at is None

    @property
    def must_go(self) -> bool:
        """Whether the replica's node will leave soon."""
        node = self.record.node
        if node is None or node.leaves_at is None:
            return False
        return node.leaves_at - self.ledger.now() < LONGEST_GRACE_S

    def began(self, request: int) -> None:
        self.ledger.began(self, request)

    def ended(self, request: int) -> None:
        self.running.discard(request)


@dataclass(eq=False)
class Request:
    """One request, from its caller's side."""

    number: int
    deployment: DeploymentId
    caller: Process | None = None
    issued_at: float = 0.0
    timeout_s: float | None = None
    idempotent: bool = False
    attempts: list[Replica] = field(default_factory=list)
    ended_at: float = -1.0
    outcome: str = ""


class Ledger:
    """All observed events, and the violations of invariants.

    Attributes:
        trace: Events in order: `(time, event, …)`.
        findings: Violations of invariants.
        starts: Number of requested replicas, without those of deployments that autoscale.
        calm: The run has no faults.
        heard_s: Longest time that a caller may use an old snapshot.
    """

    def __init__(self, now: Callable[[], float], operations: Operations) -> None:
        self.trace: list[tuple[Any, ...]] = []
        self.findings: list[str] = []
        self.requests: dict[int, Request] = {}
        self.replicas: dict[str, Replica] = {}
        self.by_id: dict[str, Replica] = {}
        self.starts = 0
        self.calm = False
        self.operations = operations
        self.cluster: SimCluster
        self.heard_s = HEARD_S
        self.now = now
        self._stored: set[str] = set()
        self._empty_at: dict[DeploymentId, float] = {}
        self._seen: set[str] = set()

    def note(self, what: str, *details: Any) -> None:
        self.trace.append((round(self.now(), 6), what, *details))

    def find(self, promise: str, *details: Any) -> None:
        """A promise is broken."""
        text = f"{promise}: {' '.join(str(detail) for detail in details)}"
        self.findings.append(f"at {self.now():.3f} {text}")
        self.note("FOUND", text)

    # --- what the cluster tells ---------------------------------------------------------

    def observe(self, event: str, record: Record, *details: Any) -> None:
        """Record an event of an actor."""
        replica = self.replicas.get(record.name)
        if event == "start" and ":replica:" in record.name:
            self._started(record)
        elif event == "boot":
            assert record.process is not None
            record.process.place = replica
        elif event == "call" and replica is not None:
            self._called(replica, *details)
        elif event == "done" and replica is not None:
            self._done(replica, *details)
        elif event == "died" and replica is not None:
            replica.running.clear()
            replica.died_at = self.now()
            self._lost_one(replica.deployment)
        if event in ("call", "done") and details[0] in ("watch", "probe_liveness", "report"):
            return
        shown = [detail for detail in details if isinstance(detail, str)]
        self.note(event, record.name, *shown)

    def _started(self, record: Record) -> None:
        inside = record.spec.args[0]
        if inside.version not in self._stored:
            self.find("nothing is started before it is stored", record.name, inside.version)
        if record.name in self.cluster.records:
            self.find("no two processes have one name", record.name)
        replica = Replica(
            self,
            record,
            inside.replica_id,
            inside.deployment,
            inside.version,
            inside.max_ongoing,
        )
        self.replicas[record.name] = self.by_id[inside.replica_id] = replica
        if not self.operations.follows_load(inside.deployment):
            self.starts += 1

    def stored(self, key: str, value: bytes) -> None:
        """The controller has stored something."""
        if key == STATE_KEY:
            index = decode_index(value)
            if missing := index.keys - self.cluster.stored.keys():
                self.find("the index refers to what is stored", sorted(missing))
                return
            _, resources = assemble(index, self.cluster.stored)
            for resource in resources.values():
                self._stored |= {spec.version for spec in resource.spec.deployments}

    def _called(self, replica: Replica, method: str, args: tuple[Any, ...]) -> None:
        if method == "reconfigure":
            replica.most = max(replica.most, args[0])
        elif method == "stop" and replica.leaves_at < 0:
            if replica.serves:
                self._may_leave(replica)
            replica.leaves_at = self.now()
            self._lost_one(replica.deployment)

    def _done(self, replica: Replica, method: str, error: BaseException | None) -> None:
        if method == "start" and error is None:
            replica.ready_at = self.now()
            if self.calm:
                self._look_at_number(replica)

    def _look_at_number(self, replica: Replica) -> None:
        """Check that there are not more ready replicas than wanted, in a calm run."""
        most = self.operations.highest(replica.deployment, self.now() - self.heard_s)
        there = [
            each
            for each in self.of(replica.deployment)
            if each.version == replica.version and each.serves and each.stays
        ]
        if len(there) > most:
            self.find("bounds are never left", replica.record.name, f"is more than {most}")

    def _may_leave(self, replica: Replica) -> None:
        """Check that enough other replicas serve when one is drained."""
        op = self.operations.lowest(replica.deployment, self.now() - self.heard_s)
        if op is None or replica.sick or replica.record.touched or self._has_just_woken():
            return
        if replica.must_go:
            return
        others = [
            other
            for other in self.replicas.values()
            if other.deployment == replica.deployment
            if other is not replica and other.seems_to_serve
        ]
        if len(others) < op and not self._is_crowded(replica.deployment):
            self.find(
                "an update takes no capacity away",
                replica.record.name,
                f"leaves {len(others)} of {op}",
            )

    def published(self, value: Any) -> None:
        """Check a published snapshot of a deployment's replicas."""
        if not isinstance(value, DeploymentSnapshot):
            return
        shown = {entry.replica_id for entry in value.replicas}
        there = {each.replica_id: each for each in self.of(value.id)}
        for replica_id in shown - there.keys():
            known = self.by_id.get(replica_id)
            if known is None or known.ready_at < 0:
                self.find("only what is ready is published", replica_id)
        self._seen |= shown
        if not self.operations.lowest(value.id, self.now() - self.heard_s):
            return  # none may be wanted, for lack of load
        if (
            shown
            or self.operations.may_be_absent(value.id, self.now())
            or self._is_crowded(value.id)
        ):
            return
        serving = [
            each.record.name
            for each in there.values()
            if each.serves
            and each.replica_id in self._seen
            and not (each.sick or each.record.touched or each.must_go)
        ]
        if serving:
            self.find("whom somebody serves is not published empty", value.state, *serving)

    def _has_just_woken(self) -> bool:
        """Whether the controller was suspended and has not caught up yet."""
        record = self.cluster.records.get(CONTROLLER_NAME)
        process = record and record.process
        return process is not None and self.now() - process.thawed_at < NOTICED_S

    def _is_crowded(self, deployment: DeploymentId) -> bool:
        """Whether a replica of the deployment waits for resources, or has just done so."""
        return any(
            other.record.state == "pending" or other.record.had_to_wait
            for other in self.of(deployment)
        )

    def _lost_one(self, deployment: DeploymentId) -> None:
        if not any(each.serves for each in self.of(deployment)):
            self._empty_at[deployment] = self.now()

    def _was_empty(self, deployment: DeploymentId, since: float) -> bool:
        """Whether at some time since `since` no replica served."""
        serves_now = any(each.serves for each in self.of(deployment))
        return not serves_now or self._empty_at.get(deployment, -1.0) >= since

    def of(self, deployment: DeploymentId) -> list[Replica]:
        """Return the replicas of a deployment that live."""
        return [replica for replica in self.living() if replica.deployment == deployment]

    def living(self) -> list[Replica]:
        """Return all replicas that live."""
        replicas = self.replicas
        return [replicas[name] for name in self.cluster.records if name in replicas]

    # --- requests -----------------------------------------------------------------------

    def issued(self, request: Request) -> None:
        self.requests[request.number] = request
        self.note("request", request.number, str(request.deployment))

    def began(self, replica: Replica, number: int) -> None:
        """A replica has begun to work on a request."""
        request = self.requests[number]
        request.attempts.append(replica)
        replica.running.add(number)
        self.note("begins", number, replica.record.name)
        if len(replica.running) > replica.most:
            self.find("no replica works on more than it may", replica.record.name)
        if len(request.attempts) > (3 if request.idempotent else 1):
            self.find("no request is executed twice", number)
        if request.outcome == "ok" and not request.idempotent:
            self.find("nothing runs after its answer", number)

    def ended(self, request: Request, result: Any, error: BaseException | None) -> None:
        """A request has ended, in whatever way."""
        if request.ended_at >= 0:
            self.find("a request ends once", request.number)
        request.ended_at = self.now()
        request.outcome = "ok" if error is None else type(error).__name__
        self.note("ends", request.number, request.outcome)
        if error is not None:
            if not self._is_allowed(request, error):
                self.find("no request fails without need", request.number, repr(error))
        else:
            self._check_version(request, *result)

    def _check_version(self, request: Request, number: int, user_config: Any) -> None:
        oldest = self.operations.oldest_version(request.deployment, request.issued_at)
        if number < oldest:
            self.find("what was replaced answers no more", request.number, number, oldest)

    def _is_allowed(self, request: Request, error: BaseException) -> bool:
        deployment = request.deployment
        if isinstance(error, ReplicaUnavailableError):
            caller = request.caller
            if caller is not None and caller.thawed_at >= request.issued_at:
                return True  # it stood still itself, and the replica did not wait for ever
            return all(replica.record.touched for replica in request.attempts[-1:]) and (
                self._touched(error.replica)
            )
        if isinstance(error, DeploymentUnavailableError):
            since = request.issued_at - self.heard_s
            if self.operations.may_be_absent(deployment, since):
                return True
            failing = self.operations.may_have_failed(deployment, since)
            return failing and self._was_empty(deployment, since)
        if isinstance(error, DeadlineExceededError):
            return request.timeout_s is not None
        if isinstance(error, BackPressureError):
            return error.limit >= 0 or request.timeout_s is not None
        return False

    def has_excuse(self, op: Operation) -> bool:
        """Whether injected faults have failed enough starts for DEPLOY_FAILED."""
        for spec in op.specs or ():
            hit = [
                each
                for each in self.replicas.values()
                if each.version == spec.version and each.record.touched
            ]
            if len(hit) >= min(spec.config.max_constructor_retry_count, 3):
                return True
        return False

    def _touched(self, replica_id: str) -> bool:
        found = self.by_id.get(replica_id)
        return found is not None and found.record.touched
