"""The scaler that a plugin gives, kept from harming anything but the counts it decides on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from .._cluster.cluster_protocol import ActorContext, Cluster
from .._model.deployment_spec import DeploymentSpec
from .._settings import describe_deployment, keyword_of
from ..errors import ConfigError, PluginError, ServeError
from ..foreign import describe_error
from ..types import (
    DeploymentId,
    DeploymentInfo,
    Hooks,
    ReportReceiver,
    Scaler,
)
from .helper_actors import HelperActors
from .report_topics import ReportTopics

__all__ = ["SCALER_KEY", "Scaling", "clear_scaler", "load_scaler"]

log = logging.getLogger("alacarte.controller")
SCALER_KEY = "scaler"
T = TypeVar("T")


async def load_scaler(cluster: Cluster) -> bytes:
    """Return what the scaler of a former controller stored, b"" for nothing.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    return await cluster.get(SCALER_KEY) or b""


async def clear_scaler(cluster: Cluster) -> None:
    """Delete what a scaler stored.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    await cluster.delete(SCALER_KEY)


class Scaling:
    """The scaler of an instance; without a plugin that gives one, every count is fixed.

    Args:
        context: Of the controller's actor.
        prefix: The beginning of the names of the instance's actors.
        topics: Has the receivers of reports.
        act: Called with a deployment and its new count.
        recovered: See `ScalerContext`.
    """

    def __init__(
        self,
        context: ActorContext,
        prefix: str,
        topics: ReportTopics,
        act: Callable[[DeploymentId, int], None],
        recovered: bytes | None,
    ) -> None:
        self._plugin = ""
        self._plugins = context.plugins
        self._failures: dict[str, str] = {}
        self._problems: dict[DeploymentId, str] = {}
        self._scaler: Scaler | None = None
        self._unmade = "no installed plugin gives a scaler"
        try:
            given = context.plugins.make_scaler(_Means(context, prefix, topics, act, recovered))
        except PluginError as error:
            self._unmade = str(error)
        else:
            if given is not None:
                self._plugin, self._scaler = given

    def check(self, spec: DeploymentSpec) -> None:
        """Refuse a deployment that asks for a scaler and gets none, or that the scaler refuses.

        Raises:
            PluginError: No plugin gives a scaler, or the plugin that does has failed.
            ConfigError: The scaler refuses the deployment's options.
        """
        if not spec.scaling:
            return
        if self._scaler is None:
            sections = self._plugins.deployment_sections
            keywords = " and ".join(keyword_of(sections[name]) for name in spec.scaling)
            raise PluginError(f"{spec.id}: {keywords} has no effect: {self._unmade}")
        try:
            self._scaler.check(self._info(spec))
        except ServeError:
            raise
        except BaseException as error:  # foreign code
            raise PluginError(
                f"{spec.id}: plugin {self._plugin} failed in Scaler.check: {describe_error(error)}"
            ) from error

    def start(self) -> None:
        """Let the scaler begin to work."""
        self._call("start", lambda scaler: scaler.start(), None)

    def want(self, spec: DeploymentSpec, current: int | None) -> int | None:
        """Return how many replicas a deployment has for now, None for what its options say.

        Args:
            current: How many replicas are wanted so far; None for a new deployment.
        """
        scales = bool(spec.scaling)
        if self._scaler is None:
            return current if scales else None
        try:
            count = _count(self._scaler, self._info(spec), current)
        except BaseException as error:  # foreign code
            self._note("want", error)
            if scales:
                self._problems[spec.id] = f"{spec.id}: {self._failures['want']}"
            return current if scales else None
        self._problems.pop(spec.id, None)
        return count

    def forget(self, deployment: DeploymentId) -> None:
        """Let a deployment's count be: the deployment is being deleted."""
        self._problems.pop(deployment, None)
        self._call("forget", lambda scaler: scaler.forget(deployment), None)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Pass on how many replicas of a deployment serve now."""
        self._call("running", lambda scaler: scaler.running(deployment, running), None)

    def problem(self, deployment: DeploymentId) -> str:
        """Return why a deployment's count does not change as it should, "" for no problem."""
        own = self._problems.get(deployment, "")
        return own or str(self._call("problem", lambda scaler: scaler.problem(deployment), ""))

    def stop(self) -> None:
        """Change no count any more."""
        self._call("stop", lambda scaler: scaler.stop(), None)

    async def close(self) -> None:
        """Change no count any more, and delete what is stored."""
        if self._scaler is not None:
            try:
                await self._scaler.close()
            except Exception as error:  # foreign code, and the cluster may be away
                self._note("close", error)

    def _info(self, spec: DeploymentSpec) -> DeploymentInfo:
        return describe_deployment(spec.id, spec.version, spec.all_options, self._plugins)

    def _call(self, method: str, ask: Callable[[Scaler], T], otherwise: T) -> T:
        scaler = self._scaler
        if scaler is None:
            return otherwise
        return self._guarded(method, lambda: ask(scaler), otherwise)

    def _guarded(self, method: str, ask: Callable[[], T], otherwise: T) -> T:
        """Run the plugin's code: its failure changes no count, and is logged once per method."""
        try:
            return ask()
        except BaseException as error:
            self._note(method, error)
            return otherwise

    def _note(self, method: str, error: BaseException) -> None:
        where = f"Scaler.{method}"
        self._failures[method] = f"plugin {self._plugin} failed in {where}: {describe_error(error)}"
        self._plugins.failures.note(self._plugin, where, error)


def _count(scaler: Scaler, deployment: DeploymentInfo, current: int | None) -> int | None:
    count: object = scaler.want(deployment, current)
    if count is None:
        return None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigError(f"{deployment.id}: it returned {count!r}, which is no number of replicas")
    return count


class _Means:
    """The `ScalerContext` of an instance."""

    def __init__(
        self,
        context: ActorContext,
        prefix: str,
        topics: ReportTopics,
        act: Callable[[DeploymentId, int], None],
        recovered: bytes | None,
    ) -> None:
        self.recovered = recovered
        self.processes = HelperActors(context.cluster, f"{prefix}helpers:", context.plugins.loaded)
        self.scale = act
        self.hooks: Hooks = context.plugins
        self._topics = topics
        self._cluster = context.cluster

    def receiver(self, topic: str) -> ReportReceiver:
        return self._topics.receiver(topic, object)  # type: ignore[return-value]  # the plugin's own

    async def store(self, value: bytes) -> None:
        await self._cluster.put(SCALER_KEY, value)

    async def clear(self) -> None:
        await clear_scaler(self._cluster)
