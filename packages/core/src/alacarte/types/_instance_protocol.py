"""Protocol of the running instance, for packages with resources of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ._deployment_id import DeploymentId
from ._resources import Resource
from ._runtime_protocol import Runtime

if TYPE_CHECKING:  # a replica imports these types, and reads no status
    from ..status import ServeStatus


class Instance(Protocol):
    """The running instance, for packages with resources of their own.

    Every method blocks, may be called from any thread except the runtime's, and waits while the
    controller restarts.
    """

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process, for calls."""

    @property
    def ended(self) -> bool:
        """Whether the instance has ended, or this process has disconnected from it."""

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until the instance has ended, or this process has disconnected from it.

        Args:
            timeout_s: How long to wait, in seconds; None for no limit.

        Returns:
            Whether the instance ended within the time.
        """

    def apply(
        self,
        *resources: Resource,
        expected: Sequence[Resource | None] = (),
        wait: bool = True,
    ) -> None:
        """Create or replace resources; all of them, or none.

        Args:
            expected: For each resource, the version that the caller has read, None where there was
                none (compare-and-set). Empty replaces any version.
            wait: Return when the deployments are running, and every proxy and this process know
                the routes.

        Raises:
            ConfigError: A resource conflicts with another resource, or is invalid.
            ConflictError: A resource differs from its expected version.
            DeployError: A deployment does not start; its resource stays applied.
        """

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Delete a resource; return whether the resource existed.

        Args:
            wait: Return when its replicas have stopped, and no proxy knows its routes.

        Raises:
            ConfigError: Another resource needs this resource.
        """

    def resources(self, kind: str) -> list[Resource]:
        """Return all resources of a kind, in the order of their creation.

        References replace large byte strings, such as code. They compare equal to the bytes, and
        `apply` takes them.
        """

    def status(self) -> ServeStatus:
        """Return the status of the instance."""

    def make_handle(self, deployment: DeploymentId) -> Any:
        """Return a handle to a deployment, or to a route.

        Raises:
            PluginError: No installed package provides handles.
        """
