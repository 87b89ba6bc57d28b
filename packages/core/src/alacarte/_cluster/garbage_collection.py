"""Garbage collection in the processes of actors."""

from __future__ import annotations

import gc

from .cluster_protocol import Cluster

__all__ = ["freeze_gc"]


def freeze_gc(cluster: Cluster) -> None:
    """Exclude all current objects from garbage collection, unless the user's program shares them.

    Modules and the user's model live as long as the process; scanning them again takes tens of
    milliseconds, in which no request is answered.
    """
    if cluster.kind != "local":
        gc.collect()
        gc.freeze()
