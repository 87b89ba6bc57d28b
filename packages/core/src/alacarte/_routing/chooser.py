"""A routing policy in use: foreign code, whose failures are contained and name whose they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import PluginError
from ..foreign import describe_error
from ..types import (
    Call,
    DeploymentId,
    Failures,
    Outcome,
    Pick,
    ReplicaLoad,
    RoutingPolicy,
    Shed,
    Wait,
)

__all__ = ["Chooser", "failed_policy"]


class Chooser:
    """The policy of one router.

    Args:
        policy: What the plugin has made.
        name: The policy's name, as deployments name it.
        plugin: The plugin that registers it.
        failures: Where to keep what the policy fails at.

    Attributes:
        choose: The policy's own method, which may raise anything; see `failure`.
        started: Tells the policy of a call that was sent; None where it does not ask.
        finished: Tells the policy of a call's end; None where it does not ask.
        left: Tells the policy of a replica that is gone; None where it does not ask.
    """

    def __init__(
        self,
        policy: RoutingPolicy,
        name: str,
        plugin: str,
        deployment: DeploymentId,
        failures: Failures,
    ) -> None:
        self._name = name
        self._plugin = plugin
        self._deployment = deployment
        self._failures = failures
        self.choose: Callable[[Call, Sequence[ReplicaLoad]], Pick | Wait | Shed] = policy.choose
        self.started: Callable[[Call, ReplicaLoad], None] | None = self._told(policy, "started")
        self.finished: Callable[[Call, ReplicaLoad, Outcome], None] | None = self._told(
            policy, "finished"
        )
        self.left: Callable[[ReplicaLoad], None] | None = self._told(policy, "left")

    @property
    def listens(self) -> bool:
        """Whether the policy asks what becomes of calls."""
        return self.started is not None or self.finished is not None

    def failure(self, error: BaseException) -> PluginError:
        """Return the error of a call for which `choose` has raised; keep the failure."""
        if isinstance(error, _NotMadeError):
            return error.named
        self._failed("choose", error)
        return self._named(f"raised {describe_error(error)}")

    def nonsense(self, choice: object) -> PluginError:
        """Return the error of a call for which `choose` has returned what it must not."""
        what = f"returned {choice!r}; one of the replicas shown, WAIT or a Shed is expected"
        self._failed("choose", PluginError(what))
        return self._named(what)

    def _failed(self, method: str, error: BaseException) -> None:
        what = f"routing policy {self._name}: {method}"
        self._failures.note(self._plugin, what, error, f"deployment {str(self._deployment)!r}")

    def _named(self, what: str) -> PluginError:
        return PluginError(
            f"{self._deployment}: routing policy {self._name!r} of plugin {self._plugin!r} {what}."
        )

    def _told(self, policy: RoutingPolicy, method: str) -> Callable[..., None] | None:
        """Return what calls an optional method of the policy, and survives its failure."""
        tell: Callable[..., Any] | None = getattr(policy, method, None)
        if tell is None:
            return None

        def told(*what: Any) -> None:
            try:
                tell(*what)
            except BaseException as error:  # foreign code, whose failure must not cost the slot
                self._failed(method, error)

        return told


class _NotMadeError(Exception):
    """Raised by what stands for a policy that could not be made."""

    def __init__(self, named: PluginError) -> None:
        self.named = named


class _FailedPolicy:
    """Stands for a policy that could not be made."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        raise _NotMadeError(PluginError(self._reason))


def failed_policy(
    name: str, plugin: str, deployment: DeploymentId, failures: Failures, error: BaseException
) -> Chooser:
    """Return a chooser that fails each call, since the policy could not be made; keep why."""
    subject = f"deployment {str(deployment)!r}"
    failures.note(plugin, f"routing policy {name}: create", error, subject)
    reason = (
        f"{deployment}: routing policy {name!r} of plugin {plugin!r} could not be made: "
        f"{describe_error(error)}."
    )
    return Chooser(_FailedPolicy(reason), name, plugin, deployment, failures)
