"""The methods of a replica, and the types of their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..types import Address, DeploymentId
from .membership import Membership
from .remote import remote

__all__ = ["Liveness", "ReplicaInfo", "ReplicaProtocol"]


@dataclass(frozen=True)
class ReplicaInfo:
    """A ready replica's description of itself.

    Attributes:
        version: Version of the deployment: a digest of its code and constructor arguments.
        pid: Process id.
        max_ongoing: Limit of concurrent requests.
        user_config: The `user_config` of the last successful `reconfigure`.
        has_health_check: The user's class has a `check_health`.
        draining: `stop` has been called.
        options: Plugins' options of the last successful `reconfigure`.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    address: Address
    node_id: str
    pid: int
    max_ongoing: int
    user_config: object
    has_health_check: bool = False
    draining: bool = False
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Liveness:
    """A replica's answer to a liveness probe.

    Attributes:
        loop_age_s: Seconds since the last iteration of the event loop.
        ongoing: Number of requests in progress.
        abandoned: Number of slots that sync code of cancelled requests still occupies.
        max_ongoing: Total number of slots.
        draining: `stop` has been called.
    """

    loop_age_s: float
    ongoing: int
    abandoned: int
    max_ongoing: int
    draining: bool = False


class ReplicaProtocol(Protocol):
    """A replica: one process with a copy of the user's class or function.

    Only the controller calls these methods. Requests reach the replica through its own sockets.
    """

    @remote(timeout_s=None, repeatable=False)
    async def start(self) -> ReplicaInfo:
        """Construct the user's object, open the sockets, and return the replica's description.

        Called once, as soon as the process is up. A constructor may take minutes: the controller
        waits for `start_timeout_s`, or until the process no longer answers `probe_liveness`.

        Raises:
            DeployError: The user's code could not be loaded, or raised; the traceback begins at
                the user's own frame.
        """

    @remote(timeout_s=5.0, repeatable=True, needs_loop=False)
    async def describe(self) -> ReplicaInfo | None:
        """Return the replica's description, None until `start` has returned.

        Called by a controller that has just restarted, to adopt the replicas that it finds.
        """

    @remote(timeout_s=5.0, repeatable=True, needs_loop=False)
    async def membership(self) -> Membership:
        """Return the values that made this process part of the instance.

        Called by a controller that has just restarted and has no secret. A separate method, because
        Ray may write large answers to the disk, and `describe` returns the `user_config`.
        """

    @remote(timeout_s=2.0, repeatable=True, needs_loop=False)
    async def probe_liveness(self) -> Liveness:
        """Return the state of the event loop and the slots.

        Called before each health check, while a constructor runs, and when a caller reports that
        the replica does not answer.
        """

    @remote(timeout_s=None, repeatable=True)
    async def check_health(self) -> None:
        """Run the user's `check_health`.

        Called every `health_check_period_s` where the user's class has that method. The controller
        waits for `health_check_timeout_s`.

        Raises:
            DeployError: The user's method raised.
        """

    @remote(timeout_s=None, repeatable=True)
    async def reconfigure(
        self, max_ongoing: int, user_config: object, options: Mapping[str, object]
    ) -> None:
        """Apply settings that need no restart.

        Called when a new version differs in these settings only. The controller waits for
        `start_timeout_s`.

        Args:
            max_ongoing: Limit of concurrent requests.
            user_config: Plain values for the user's `reconfigure`; None to leave them unchanged.
            options: Plugins' options of the deployment: plain values by section. Layers whose
                options differ are built again; requests in progress keep their layers.

        Raises:
            DeployError: The user's `reconfigure` raised, and may have applied some settings. Or a
                plugin's layer could not be built; then every call fails until a build succeeds.
        """

    @remote(timeout_s=5.0, repeatable=True, extended_by="timeout_s")
    async def stop(self, timeout_s: float) -> None:
        """Finish the requests in progress, run the user's destructor, and return.

        A second call waits for the same end. The controller kills the process after the answer or
        the timeout.

        Args:
            timeout_s: Seconds for the requests in progress; later ones are cancelled.
        """
