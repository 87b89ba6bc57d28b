"""Names of `ray.serve.context`, for programs of Ray Serve."""

from ..context import (
    ReplicaContext,
    RequestContext,
    current_call,
    get_replica_context,
    get_request_context,
)

__all__ = ["ReplicaContext", "RequestContext", "get_replica_context", "get_request_context"]


def _get_serve_request_context() -> RequestContext:
    """Return the context of the current request; outside of a request an empty context."""
    return RequestContext() if current_call.get() is None else get_request_context()
