"""Watch of the cluster's nodes: starts node services, and migrates replicas off draining nodes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from .._cluster.cluster_protocol import Cluster, Node
from .._plugins import Plugins
from .._section_values import SectionValues
from .node_service_group import NodeServiceGroup, WantedService

__all__ = ["NodeWatch"]

log = logging.getLogger("alacarte.controller")
_POLL_S = 2.0


class NodeWatch:
    """Tracks nodes that join, drain and leave. Lives on the controller's loop.

    Args:
        services: Runs the node services.
        migrate: Called with the drain deadline of each draining node, on the loop's clock.
        nodes_changed: Called with the nodes that are up.
        is_stopping: Whether the instance is shutting down.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Plugins,
        config: SectionValues,
        services: NodeServiceGroup,
        migrate: Callable[[Mapping[str, float]], None],
        nodes_changed: Callable[[Sequence[Node]], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._migrate = migrate
        self._nodes_changed = nodes_changed
        self._is_stopping = is_stopping
        self._config = config
        self._specs = [spec for spec in plugins.node_services.values() if spec.enabled(config)]
        self._any_draining = False

    async def follow(self) -> None:
        """Poll the cluster for its nodes."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                self.update(await self._cluster.nodes())
            except Exception:  # the loop must go on, whatever the cluster answers
                log.exception("cannot list the cluster's nodes")

    def update(self, nodes: Sequence[Node]) -> None:
        """Reconcile the node services with these nodes, and migrate replicas off draining nodes."""
        # A cluster always has a node: an empty list is no answer.
        if not nodes or self._is_stopping():
            return
        self._nodes_changed(nodes)
        self._note_draining(nodes)
        config = self._config
        if self._specs:
            self._services.reconcile(
                [
                    WantedService(
                        spec,
                        [node for node in nodes if node.is_head or not spec.head_only(config)],
                        spec.processes(config),
                    )
                    for spec in self._specs
                ]
            )

    def _note_draining(self, nodes: Sequence[Node]) -> None:
        ahead = asyncio.get_running_loop().time() - time.time()
        draining = {
            # Rounded to seconds, because the two clocks are never read at the same moment.
            node.node_id: round(node.draining_until + ahead)
            for node in nodes
            if node.draining_until is not None
        }
        if draining or self._any_draining:
            self._any_draining = bool(draining)
            self._migrate(draining)
