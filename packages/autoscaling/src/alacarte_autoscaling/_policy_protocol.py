"""The methods of the process that runs users' autoscaling policies, and their values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from alacarte.actors import remote
from alacarte.types import DeploymentId, UserCode

from .types import AutoscalingContext

__all__ = ["CustomPolicy", "PolicyAnswer", "PolicyProtocol"]


@dataclass(frozen=True)
class CustomPolicy:
    """A user's policy as bytes, with the values needed to load it.

    Attributes:
        code: The function or class.
        kwargs: For the constructor, if it is a class.
    """

    code: UserCode
    kwargs: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Equal for equal code and arguments."""
        return hashlib.sha256(repr((self.code.digest, self.kwargs)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PolicyAnswer:
    """The outcome of a question.

    Attributes:
        wanted: The number of replicas that the policy decides on, None where it failed.
        failure: Why it failed.
        is_unknown: This process does not have the policy; `give` comes first.
    """

    wanted: float | None = None
    failure: str = ""
    is_unknown: bool = False


class PolicyProtocol(Protocol):
    """The policy process: it runs all autoscaling policies that users bring themselves.

    Only the controller calls these methods, which loads no user code. Each policy has a thread and
    an event loop of its own, so the process answers while a policy blocks.
    """

    @remote(patience_s=5.0, repeatable=True)
    async def ping(self) -> None:
        """Return at once.

        Called by a controller that has just restarted, to see whether the process still works.
        """

    @remote(patience_s=5.0, repeatable=True)
    async def give(self, deployment: DeploymentId, policy: CustomPolicy) -> None:
        """Take a deployment's policy in place of its former one. The first question loads it.

        Args:
            deployment: The deployment that the policy scales.
            policy: Its code and arguments.
        """

    @remote(patience_s=5.0, repeatable=False, extended_by="limit_s")
    async def ask(
        self, deployment: DeploymentId, digest: str, context: AutoscalingContext, limit_s: float
    ) -> PolicyAnswer:
        """Ask a deployment's policy for the number of replicas.

        The policy's own errors come back in the answer. Each question may change the policy's
        state, so it is not repeated.

        Args:
            deployment: The deployment to scale.
            digest: `CustomPolicy.digest` of the policy to ask.
            context: The load and the limits that the policy decides by.
            limit_s: Seconds that the policy may take.
        """

    @remote(patience_s=5.0, repeatable=True)
    async def forget(self, deployment: DeploymentId) -> None:
        """End a deployment's policy. An unknown deployment is fine.

        Args:
            deployment: The deployment that is gone, or has no such policy any more.
        """
