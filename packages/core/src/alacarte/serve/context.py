"""`ray.serve.context`, for programs that move over."""

from ..context import ReplicaContext, get_replica_context

__all__ = ["ReplicaContext", "get_replica_context"]
