"""The nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import signal

import ray

from ..cluster_protocol import Node
from .internals import draining_nodes, living_nodes

__all__ = ["HEAD", "end_process", "list_nodes", "this_node"]

HEAD = "node:__internal_head__"


def list_nodes() -> list[Node]:
    """Return the nodes that are up. Blocks on Ray's control store."""
    leaving = draining_nodes()
    return [
        Node(
            node_id,
            node.node_manager_address,
            is_head=HEAD in node.resources_total,
            draining_until=leaving.get(node_id),
            cores=max(int(node.resources_total.get("CPU", 0)), 1),
        )
        for node_id, node in living_nodes().items()
    ]


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows bind no process to cores


def this_node() -> Node:
    """Return the node that this process runs on."""
    context = ray.get_runtime_context()
    address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    return Node(context.get_node_id(), address, cores=num_cores())


def end_process(pid: int) -> None:
    """Kill a process of Ray's on this node, unless its pid is another program's by now."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            is_ray = file.read().startswith(b"ray::")
        if is_ray:
            os.kill(pid, signal.SIGKILL)
