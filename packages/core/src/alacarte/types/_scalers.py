"""Changing how many replicas deployments have, by whatever a plugin decides that by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ._deployment_id import DeploymentId
from ._deployment_info import DeploymentInfo
from ._hooks import Hooks
from ._reports import ReportReceiver

P = TypeVar("P")


class HelperProcess(Protocol):
    """A process of a plugin, beside the controller."""

    name: str

    def stub(self, protocol: Callable[..., P]) -> P:
        """Return an object with a protocol's methods, each of which calls the process.

        Args:
            protocol: A `Protocol` class whose methods all declare their terms with
                `alacarte.actors.remote`.
        """

    def kill(self) -> None:
        """End the process at once."""


class HelperProcesses(Protocol):
    """Starts and finds the helper processes of a plugin, which run code that may fail or block."""

    async def start(self, target: str, *, import_paths: Sequence[str] = ()) -> HelperProcess:
        """Start a process and return it when it is up.

        The process outlives the controller's: a restarted controller finds it with `running`.

        Args:
            target: `"module:Class"`; the process makes one object of the class, with its actor's
                context as only argument, and runs the methods that `HelperProcess.stub` calls.
            import_paths: Entries to put in front of the process's `sys.path`.

        Raises:
            Exception: Whatever the cluster has against it.
        """

    async def running(self) -> list[HelperProcess]:
        """Return the processes that live, those that a former controller started included."""


class ScalerContext(Protocol):
    """The means of a scaler. Used on the controller's event loop.

    Attributes:
        recovered: The last value that a former controller's scaler stored, b"" for none; None in
            a new instance.
    """

    recovered: bytes | None

    @property
    def hooks(self) -> Hooks:
        """The hooks of the controller's process."""

    @property
    def processes(self) -> HelperProcesses:
        """For code that must not run in the controller, such as users' own."""

    def scale(self, deployment: DeploymentId, replicas: int) -> None:
        """Change how many replicas a deployment has. Store the count first."""

    def receiver(self, topic: str) -> ReportReceiver:
        """Return the receiver of a report topic."""

    async def store(self, value: bytes) -> None:
        """Store a value in place of the last one; it is durable when this returns.

        Raises:
            Exception: The cluster does not answer. The value may be stored, or not.
        """

    async def clear(self) -> None:
        """Delete the stored value."""


class Scaler(Protocol):
    """Decides how many replicas deployments have. One per instance, in the controller.

    All methods are called on the controller's event loop and must not block. What they raise is
    logged with the plugin's name, and leaves counts as they are.
    """

    def check(self, deployment: DeploymentInfo) -> None:
        """Raise ConfigError for a deployment whose options cannot be followed.

        Called before the deployment is stored.
        """

    def start(self) -> None:
        """Begin to work: the replicas of a former controller have been taken over."""

    def want(self, deployment: DeploymentInfo, current: int | None) -> int | None:
        """Follow a deployment with these options from now on; return its number of replicas.

        Called for each new deployment, at each change of one, and after a restart of the
        controller.

        Args:
            current: The number of replicas so far; None for a new deployment.

        Returns:
            None for a deployment with a fixed number of replicas.
        """

    def forget(self, deployment: DeploymentId) -> None:
        """Follow a deployment no more: it is being deleted."""

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Take in how many replicas of a deployment serve now. Any deployment, also unknown."""

    def problem(self, deployment: DeploymentId) -> str:
        """Return why a deployment's count does not change as it should, "" for no problem.

        `serve.status()` shows the problem.
        """

    def stop(self) -> None:
        """Change nothing any more; what is stored stays. Another controller may follow."""

    async def close(self) -> None:
        """Change nothing any more, and delete what is stored: the instance ends."""
