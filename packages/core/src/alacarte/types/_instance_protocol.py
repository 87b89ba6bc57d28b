"""The running instance, as packages with resources of their own see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ._deployment_id import DeploymentId
from ._resources import Resource
from ._runtime_protocol import Runtime

if TYPE_CHECKING:  # a replica imports these types, and reads no status
    from ..status import ServeStatus


class Instance(Protocol):
    """The running instance, for packages that keep resources of their own.

    Every method blocks, may be called from any thread but the runtime's own, and waits for a
    controller that is just being restarted.
    """

    @property
    def runtime(self) -> Runtime:
        """For calls of this process."""

    @property
    def ended(self) -> bool:
        """The instance has ended, or this process has left it."""

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until the instance has ended, whoever ended it, or this process has left it.

        Returns:
            Whether that came about within the time; None waits without a limit.
        """

    def apply(
        self,
        *resources: Resource,
        expected: Sequence[Resource | None] = (),
        wait: bool = True,
    ) -> None:
        """Make these exist, in place of those of their names; all of them, or none.

        Args:
            expected: For each resource, its current value as the caller read it, None for a
                resource that must not exist; () to replace any value. Compare-and-set: no change
                of another caller is overwritten unseen.
            wait: Return when their deployments run, and every proxy and this process know their
                routes.

        Raises:
            ConfigError: One of them cannot exist beside the others.
            ConflictError: A current value is not the expected one.
            DeployError: A deployment does not start; it is left as it is.
        """

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Remove a resource; return whether there was one.

        Args:
            wait: Return when nothing of it runs any more, and no proxy knows its routes.

        Raises:
            ConfigError: Another resource needs it.
        """

    def resources(self, kind: str) -> list[Resource]:
        """Return all resources of a kind, in the order in which they were made.

        References stand in place of large byte strings, such as code: equal to them, and as good
        for `apply`.
        """

    def status(self) -> ServeStatus:
        """Return how everything is doing."""

    def make_handle(self, deployment: DeploymentId) -> Any:
        """Return a handle to a deployment, or to a route.

        Raises:
            PluginError: No installed package gives handles.
        """
