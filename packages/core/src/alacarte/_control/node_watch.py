"""The nodes of the cluster: services on each of them, and replicas off those about to leave."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from .._cluster.cluster_protocol import Cluster, Node
from .._plugins import Plugins
from .._settings import SectionValues
from .service_group import ServiceGroup, WantedService

__all__ = ["NodeWatch"]

log = logging.getLogger("alacarte.controller")
_POLL_S = 2.0


class NodeWatch:
    """Follows the nodes that come, are about to leave, and go. Lives on the controller's loop.

    Args:
        migrate: Called with the drain deadline of each node that is about to leave, on the loop's
            clock.
        seen: Called with the nodes that are up.
        is_over: Whether nothing is to be placed any more.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Plugins,
        config: SectionValues,
        services: ServiceGroup,
        migrate: Callable[[Mapping[str, float]], None],
        seen: Callable[[Sequence[Node]], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._migrate = migrate
        self._seen = seen
        self._is_over = is_over
        self._config = config
        self._specs = [spec for spec in plugins.node_services.values() if spec.enabled(config)]
        self._any_leave = False

    async def follow(self) -> None:
        """Poll the cluster for its nodes."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                self.see(await self._cluster.nodes())
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's nodes are not known")

    def see(self, nodes: Sequence[Node]) -> None:
        """Put node services on these nodes; have replicas leave those that are about to leave."""
        # A cluster always has one, so none is no answer.
        if not nodes or self._is_over():
            return
        self._seen(nodes)
        self._note_leaving(nodes)
        config = self._config
        if self._specs:
            self._services.place(
                [
                    WantedService(
                        spec,
                        [node for node in nodes if node.is_head or not spec.head_only(config)],
                        spec.processes(config),
                    )
                    for spec in self._specs
                ]
            )

    def _note_leaving(self, nodes: Sequence[Node]) -> None:
        ahead = asyncio.get_running_loop().time() - time.time()
        leaving = {
            # To the second, since the two clocks are never read at the same moment.
            node.node_id: round(node.draining_until + ahead)
            for node in nodes
            if node.draining_until is not None
        }
        if leaving or self._any_leave:
            self._any_leave = bool(leaving)
            self._migrate(leaving)
