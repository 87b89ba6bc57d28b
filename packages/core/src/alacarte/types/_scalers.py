"""Scalers: plugins that decide the number of replicas of deployments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ._deployment_id import DeploymentId
from ._deployment_info import DeploymentInfo
from ._hooks import Hooks
from ._reports import ReportReceiver

P = TypeVar("P")


class HelperProcess(Protocol):
    """A process that a plugin starts beside the controller."""

    name: str

    def stub(self, protocol: Callable[..., P]) -> P:
        """Return an object that calls the process's methods.

        Args:
            protocol: A `Protocol` class with methods that are all declared with
                `alacarte.actors.remote`.
        """

    def kill(self) -> None:
        """Kill the process."""


class HelperProcesses(Protocol):
    """Starts and finds the helper processes of a plugin, for code that may fail or block."""

    async def start(self, target: str, *, import_paths: Sequence[str] = ()) -> HelperProcess:
        """Start a process; return when it is ready.

        The process survives a restart of the controller, which finds it with `running`.

        Args:
            target: `"module:Class"`. The process creates an object of the class, with the actor's
                context as only argument, and runs the methods that `HelperProcess.stub` calls.
            import_paths: Entries to prepend to the process's `sys.path`.

        Raises:
            Exception: The cluster cannot start the process.
        """

    async def running(self) -> list[HelperProcess]:
        """Return the living processes, including those that a previous controller started."""


class ScalerContext(Protocol):
    """The functions of the controller for a scaler. Use them on the controller's event loop.

    Attributes:
        recovered: The value that the previous controller's scaler stored last, b"" for none; None
            in a new instance.
    """

    recovered: bytes | None

    @property
    def hooks(self) -> Hooks:
        """The hooks of the controller's process."""

    @property
    def processes(self) -> HelperProcesses:
        """The helper processes, for code that must not run in the controller, such as user code."""

    def scale(self, deployment: DeploymentId, replicas: int) -> None:
        """Change the number of replicas of a deployment. Store the count first."""

    def receiver(self, topic: str) -> ReportReceiver:
        """Return the receiver of a report topic."""

    async def store(self, value: bytes) -> None:
        """Replace the stored value; the new value is durable on return.

        Raises:
            Exception: The cluster does not answer. The value may or may not be stored.
        """

    async def clear(self) -> None:
        """Delete the stored value."""


class Scaler(Protocol):
    """Decides the number of replicas of deployments. One per instance, in the controller.

    All methods run on the controller's event loop and must not block. Exceptions are logged with
    the plugin's name, and leave the counts unchanged.
    """

    def check(self, deployment: DeploymentInfo) -> None:
        """Raise ConfigError for a deployment with invalid options.

        Called before the deployment is stored.
        """

    def start(self) -> None:
        """Start to scale. Called when the controller has recovered all existing replicas."""

    def want(self, deployment: DeploymentInfo, current: int | None) -> int | None:
        """Start or continue to scale a deployment; return its number of replicas.

        Called for each new deployment, at each change of its options, and after a restart of the
        controller.

        Args:
            current: The current target number of replicas; None for a new deployment.

        Returns:
            None for a deployment with a fixed number of replicas.
        """

    def forget(self, deployment: DeploymentId) -> None:
        """Stop scaling a deployment, which is being deleted."""

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Update the number of running replicas of any deployment, known to the scaler or not."""

    def problem(self, deployment: DeploymentId) -> str:
        """Return why a deployment cannot be scaled, for `serve.status()`; "" for no problem."""

    def stop(self) -> None:
        """Stop scaling, but keep the stored value for the next controller."""

    async def close(self) -> None:
        """Stop scaling, and delete the stored value: the instance ends."""
