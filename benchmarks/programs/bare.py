"""An ASGI application on uvicorn, one process: what HTTP in Python costs without serving."""

from __future__ import annotations

import os
from typing import Any

import uvicorn


def run(app: Any) -> None:
    """Answer HTTP until told to end by a signal."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
