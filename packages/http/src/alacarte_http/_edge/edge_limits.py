"""Limits of client connections: bytes, connections and time, fixed for a proxy process."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass

from ..config import HTTPOptions

__all__ = ["EdgeLimits", "edge_limits"]

log = logging.getLogger("alacarte.http")
_OTHER_FILES = 256
"""File descriptors reserved for connections to replicas, log files and the like."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """The limits of `HTTPOptions` that apply to a client's connection. Times in seconds."""

    request_line_bytes: int
    header_bytes: int
    header_fields: int
    body_bytes: int | None
    connections: int
    keep_alive_s: float
    head_s: float
    body_s: float
    send_s: float


def edge_limits(options: HTTPOptions) -> EdgeLimits:
    """Return the limits in the options, with `connections` within the process's file limit.

    Without free descriptors a process accepts no connection, so the limit must come first.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = options.max_connections
    if files != resource.RLIM_INFINITY and connections > files - _OTHER_FILES:
        connections = max(files // 2, files - _OTHER_FILES)
        log.warning(
            "http: max_connections is %d, but this process may open only %d files; the proxy "
            "accepts %d connections. Raise the file limit (ulimit -n) or lower max_connections.",
            options.max_connections,
            files,
            connections,
        )
    return EdgeLimits(
        options.max_request_line_bytes,
        options.max_header_bytes,
        options.max_header_fields,
        options.max_body_bytes,
        connections,
        options.keep_alive_timeout_s,
        options.receive_head_timeout_s,
        options.receive_body_timeout_s,
        options.send_timeout_s,
    )
