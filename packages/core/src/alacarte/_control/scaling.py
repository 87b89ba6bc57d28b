"""The scaler of a plugin. Its failures change no number of replicas, and harm no other part."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from .._cluster.cluster_protocol import ActorContext, Cluster
from .._model.deployment_spec import DeploymentSpec
from .._section_values import describe_deployment, keyword_of
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
    """Return the value that the scaler of a former controller stored, b"" for none.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    return await cluster.get(SCALER_KEY) or b""


async def clear_scaler(cluster: Cluster) -> None:
    """Delete the value that a scaler stored.

    Raises:
        ClusterUnresponsive: The cluster does not answer.
    """
    await cluster.delete(SCALER_KEY)


class Scaling:
    """The scaler of an instance. Without a plugin's scaler, `num_replicas` is fixed.

    Args:
        context: Context of the controller's actor.
        prefix: Prefix of the names of the instance's actors.
        topics: Holds the receivers of reports.
        scale: Called with a deployment and its new number of replicas.
        recovered: See `ScalerContext`.
    """

    def __init__(
        self,
        context: ActorContext,
        prefix: str,
        topics: ReportTopics,
        scale: Callable[[DeploymentId, int], None],
        recovered: bytes | None,
    ) -> None:
        self._plugin = ""
        self._plugins = context.plugins
        self._failures: dict[str, str] = {}
        self._problems: dict[DeploymentId, str] = {}
        self._scaler: Scaler | None = None
        self._missing_reason = "no installed plugin provides a scaler"
        try:
            scaler_context = _ScalerContext(context, prefix, topics, scale, recovered)
            made = context.plugins.make_scaler(scaler_context)
        except PluginError as error:
            self._missing_reason = str(error)
        else:
            if made is not None:
                self._plugin, self._scaler = made

    def check(self, spec: DeploymentSpec) -> None:
        """Check the scaling options of a deployment.

        Raises:
            PluginError: No plugin provides a scaler, or the plugin that does has failed.
            ConfigError: The scaler refuses the deployment's options.
        """
        if not spec.scaling:
            return
        if self._scaler is None:
            sections = self._plugins.deployment_sections
            keywords = " and ".join(keyword_of(sections[name]) for name in spec.scaling)
            raise PluginError(f"{spec.id}: {keywords} has no effect: {self._missing_reason}")
        try:
            self._scaler.check(self._info(spec))
        except ServeError:
            raise
        except BaseException as error:  # foreign code
            raise PluginError(
                f"{spec.id}: plugin {self._plugin} failed in Scaler.check: {describe_error(error)}"
            ) from error

    def start(self) -> None:
        """Start the scaler."""
        self._call("start", lambda scaler: scaler.start(), None)

    def want(self, spec: DeploymentSpec, current: int | None) -> int | None:
        """Return a deployment's number of replicas for now, None for `num_replicas`.

        Args:
            current: Last number of replicas; None for a new deployment.
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
        """Stop scaling a deployment that is being deleted."""
        self._problems.pop(deployment, None)
        self._call("forget", lambda scaler: scaler.forget(deployment), None)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Pass the number of serving replicas of a deployment to the scaler."""
        self._call("running", lambda scaler: scaler.running(deployment, running), None)

    def problem(self, deployment: DeploymentId) -> str:
        """Return the problem that keeps a deployment from scaling, "" for none."""
        own = self._problems.get(deployment, "")
        return own or str(self._call("problem", lambda scaler: scaler.problem(deployment), ""))

    def stop(self) -> None:
        """Stop the scaler."""
        self._call("stop", lambda scaler: scaler.stop(), None)

    async def close(self) -> None:
        """Stop the scaler, and let it delete its stored value."""
        if self._scaler is not None:
            try:
                await self._scaler.close()
            except Exception as error:  # foreign code, and the cluster may be away
                self._note("close", error)

    def _info(self, spec: DeploymentSpec) -> DeploymentInfo:
        return describe_deployment(spec.id, spec.version, spec.all_options, self._plugins)

    def _call(self, method: str, call: Callable[[Scaler], T], default: T) -> T:
        scaler = self._scaler
        if scaler is None:
            return default
        return self._guarded(method, lambda: call(scaler), default)

    def _guarded(self, method: str, call: Callable[[], T], default: T) -> T:
        """Run the plugin's code; on failure, log once per method and return `default`."""
        try:
            return call()
        except BaseException as error:
            self._note(method, error)
            return default

    def _note(self, method: str, error: BaseException) -> None:
        where = f"Scaler.{method}"
        self._failures[method] = f"plugin {self._plugin} failed in {where}: {describe_error(error)}"
        self._plugins.failures.note(self._plugin, where, error)


def _count(scaler: Scaler, deployment: DeploymentInfo, current: int | None) -> int | None:
    count: object = scaler.want(deployment, current)
    if count is None:
        return None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigError(
            f"{deployment.id}: want() returned {count!r}, not a number of replicas (an int, 0 or "
            "more, or None)"
        )
    return count


class _ScalerContext:
    """The `ScalerContext` of an instance."""

    def __init__(
        self,
        context: ActorContext,
        prefix: str,
        topics: ReportTopics,
        scale: Callable[[DeploymentId, int], None],
        recovered: bytes | None,
    ) -> None:
        self.recovered = recovered
        self.processes = HelperActors(context.cluster, f"{prefix}helpers:", context.plugins.loaded)
        self.scale = scale
        self.hooks: Hooks = context.plugins
        self._topics = topics
        self._cluster = context.cluster

    def receiver(self, topic: str) -> ReportReceiver:
        return self._topics.receiver(topic, object)  # type: ignore[return-value]  # the plugin's own

    async def store(self, value: bytes) -> None:
        await self._cluster.put(SCALER_KEY, value)

    async def clear(self) -> None:
        await clear_scaler(self._cluster)
