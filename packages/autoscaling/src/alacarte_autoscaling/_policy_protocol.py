"""Protocol of the process that runs users' autoscaling policies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from alacarte.actors import remote
from alacarte.types import DeploymentId, UserCode

from .types import AutoscalingContext

__all__ = ["CustomPolicy", "PolicyProtocol", "PolicyResult"]


@dataclass(frozen=True)
class CustomPolicy:
    """A user's policy: its code and arguments.

    Attributes:
        code: The function or class.
        kwargs: Arguments for the constructor of a class.
    """

    code: UserCode
    kwargs: dict[str, object]

    @cached_property
    def digest(self) -> str:
        """Digest of the code and arguments."""
        return hashlib.sha256(repr((self.code.digest, self.kwargs)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PolicyResult:
    """The result of a policy.

    Attributes:
        decision: The number of replicas, None for a failure.
        failure: The reason of the failure.
        is_unknown: Whether the process does not have the policy, and needs `add` first.
    """

    decision: float | None = None
    failure: str = ""
    is_unknown: bool = False


class PolicyProtocol(Protocol):
    """The policy process, which runs the autoscaling policies of users.

    Only the controller calls these methods, and loads no user code. Each policy has its own thread
    and event loop, so the process answers while a policy blocks.
    """

    @remote(timeout_s=5.0, repeatable=True)
    async def ping(self) -> None:
        """Return at once.

        A restarted controller calls `ping` to check whether the process still works.
        """

    @remote(timeout_s=5.0, repeatable=True)
    async def add(self, deployment: DeploymentId, policy: CustomPolicy) -> None:
        """Add or replace a deployment's policy. Its first decision loads the code.

        Args:
            deployment: The deployment that the policy scales.
            policy: Its code and arguments.
        """

    @remote(timeout_s=5.0, repeatable=False, extended_by="limit_s")
    async def decide(
        self, deployment: DeploymentId, digest: str, context: AutoscalingContext, limit_s: float
    ) -> PolicyResult:
        """Call a deployment's policy for the number of replicas.

        The result contains errors of the policy. A decision may change the policy's state, so the
        call is not repeated.

        Args:
            deployment: The deployment to scale.
            digest: `CustomPolicy.digest` of the policy to call.
            context: The load and the limits of the deployment.
            limit_s: Seconds for the decision of the policy.
        """

    @remote(timeout_s=5.0, repeatable=True)
    async def forget(self, deployment: DeploymentId) -> None:
        """Remove a deployment's policy. Unknown deployments are ignored.

        Args:
            deployment: A deployment that is gone, or has another policy.
        """
