"""A routing policy in use: foreign code, whose failures are contained and name whose they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import PluginError
from ..foreign import describe_error
from ..types import Call, DeploymentId, Outcome, Pick, ReplicaLoad, RoutingPolicy, Shed, Wait

__all__ = ["Chooser", "failed_policy"]

log = logging.getLogger("alacarte.router")


class Chooser:
    """The policy of one router.

    Args:
        policy: What the plugin has made.
        name: The policy's name, as deployments name it.
        plugin: The plugin that registers it.

    Attributes:
        choose: The policy's own method, which may raise anything; see `failure`.
        started: Tells the policy of a call that was sent; None where it does not ask.
        finished: Tells the policy of a call's end; None where it does not ask.
        left: Tells the policy of a replica that is gone; None where it does not ask.
    """

    def __init__(
        self, policy: RoutingPolicy, name: str, plugin: str, deployment: DeploymentId
    ) -> None:
        self._subject = f"{deployment}: routing policy {name!r} of plugin {plugin!r}"
        self._failed: set[str] = set()
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
        """Return the error of a call for which `choose` has raised; log the first such failure."""
        if isinstance(error, PluginError):
            return error  # it names the policy already
        return self._failure("choose", f"raised {describe_error(error)}", error)

    def nonsense(self, choice: object) -> PluginError:
        """Return the error of a call for which `choose` has returned what it must not."""
        what = f"returned {choice!r}; one of the replicas shown, WAIT or a Shed is expected"
        return self._failure("choose", what, None)

    def _failure(self, method: str, what: str, error: BaseException | None) -> PluginError:
        text = f"{self._subject} {what}."
        if method not in self._failed:
            self._failed.add(method)
            log.error("%s Logged once.", text, exc_info=error)
        return PluginError(text)

    def _told(self, policy: RoutingPolicy, method: str) -> Callable[..., None] | None:
        """Return what calls an optional method of the policy, and survives its failure."""
        tell: Callable[..., Any] | None = getattr(policy, method, None)
        if tell is None:
            return None

        def told(*what: Any) -> None:
            try:
                tell(*what)
            except BaseException as error:  # foreign code, whose failure must not cost the slot
                self._failure(method, f"raised {describe_error(error)} in {method}", error)

        return told


class _FailedPolicy:
    """Stands for a policy that could not be made."""

    def __init__(self, error: PluginError) -> None:
        self._error = error

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        raise PluginError(*self._error.args)


def failed_policy(name: str, plugin: str, deployment: DeploymentId, error: Exception) -> Chooser:
    """Return a chooser that fails each call, since the policy could not be made; log why."""
    text = (
        f"{deployment}: routing policy {name!r} of plugin {plugin!r} could not be made: "
        f"{describe_error(error)}."
    )
    log.error("%s Calls of the deployment fail.", text, exc_info=error)
    return Chooser(_FailedPolicy(PluginError(text)), name, plugin, deployment)
