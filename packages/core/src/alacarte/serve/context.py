"""`ray.serve.context`, for programs that move over."""

from ..context import (
    ReplicaContext,
    RequestContext,
    current_call,
    get_replica_context,
    get_request_context,
)

__all__ = ["ReplicaContext", "RequestContext", "get_replica_context", "get_request_context"]


def _get_serve_request_context() -> RequestContext:
    """Return the request being worked on, an empty one outside of a request, as Ray Serve does."""
    return RequestContext() if current_call.get() is None else get_request_context()
