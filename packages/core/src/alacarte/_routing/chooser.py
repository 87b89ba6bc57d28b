"""A plugin's routing policy in use: its failures are contained, and name policy and plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """The routing policy of one router.

    Args:
        policy: The policy that the plugin has created.
        name: The policy's name in `routing_policy`.
        plugin: The plugin that registers the policy.
        failures: Records the failures of the policy.

    Attributes:
        choose: The policy's own method, which may raise anything; see `choose_error`.
        started: Informs the policy of a call that was sent; None if the policy has no such method.
        finished: Informs the policy of a call's end; None likewise.
        left: Informs the policy of a replica that has left; None likewise.
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
        self.started: Callable[[Call, ReplicaLoad], None] | None = self._guarded(policy, "started")
        self.finished: Callable[[Call, ReplicaLoad, Outcome], None] | None = self._guarded(
            policy, "finished"
        )
        self.left: Callable[[ReplicaLoad], None] | None = self._guarded(policy, "left")

    @property
    def observes_calls(self) -> bool:
        """Whether the policy has a method that observes calls."""
        return self.started is not None or self.finished is not None

    def choose_error(self, error: BaseException) -> PluginError:
        """Return the error of a call for which `choose` has raised; record the failure."""
        if isinstance(error, _CreationFailedError):
            return error.error
        self._note_failure("choose", error)
        return self._error(f"raised {describe_error(error)}")

    def invalid_choice_error(self, choice: object) -> PluginError:
        """Return the error of a call for which `choose` has returned an invalid choice."""
        fault = f"returned {choice!r}; one of the replicas shown, WAIT or a Shed is expected"
        self._note_failure("choose", PluginError(fault))
        return self._error(fault)

    def _note_failure(self, method: str, error: BaseException) -> None:
        operation = f"routing policy {self._name}: {method}"
        self._failures.note(self._plugin, operation, error, f"deployment {str(self._deployment)!r}")

    def _error(self, fault: str) -> PluginError:
        return PluginError(
            f"{self._deployment}: routing policy {self._name!r} of plugin {self._plugin!r} {fault}."
        )

    def _guarded(self, policy: RoutingPolicy, method: str) -> Callable[..., None] | None:
        """Return an optional method of the policy that raises nothing, or None without one."""
        notify: Callable[..., object] | None = getattr(policy, method, None)
        if notify is None:
            return None

        def guarded(*args: object) -> None:
            try:
                notify(*args)
            except BaseException as error:  # foreign code, whose failure must not cost the slot
                self._note_failure(method, error)

        return guarded


class _CreationFailedError(Exception):
    """Raised by the replacement of a policy that could not be created."""

    def __init__(self, error: PluginError) -> None:
        self.error = error


class _FailedPolicy:
    """Replaces a policy that could not be created, and fails each call."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        raise _CreationFailedError(PluginError(self._reason))


def failed_policy(
    name: str, plugin: str, deployment: DeploymentId, failures: Failures, error: BaseException
) -> Chooser:
    """Return a chooser that fails each call, and record why the policy could not be created."""
    subject = f"deployment {str(deployment)!r}"
    failures.note(plugin, f"routing policy {name}: create", error, subject)
    reason = (
        f"{deployment}: routing policy {name!r} of plugin {plugin!r} could not be created: "
        f"{describe_error(error)}."
    )
    return Chooser(_FailedPolicy(reason), name, plugin, deployment, failures)
