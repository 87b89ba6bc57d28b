"""Further nodes for the Ray of these tests, as processes of this machine, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray

from alacarte.testing import wait_until

__all__ = ["added_node", "alive_nodes", "drain"]

_ATTEMPTS = 3
_PREEMPTION = 2
"""Ray's reason for a drain that a node cannot refuse."""


def alive_nodes() -> dict[str, dict[str, Any]]:
    """Return what Ray says of its living nodes, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


@contextmanager
def added_node(address: str, *options: str) -> Iterator[str]:
    """Run one more node of the Ray at `address`; give its id. It leaves at the end.

    Args:
        options: Of `ray start`, such as `--num-gpus=1`.
    """
    process, node_id = _started(address, options)
    try:
        yield node_id
    finally:
        _end(process)
    wait_until(lambda: node_id not in alive_nodes(), 60, "the end of the node")


def _started(address: str, options: Sequence[str]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a node. Ray gives it up where its helpers take long, as on a busy machine: so again."""
    before = alive_nodes().keys()
    command = [str(Path(sys.executable).with_name("ray")), "start", f"--address={address}"]
    # Ports of their own: several nodes share this machine.
    command += ["--block", "--min-worker-port=0", "--max-worker-port=0", *options]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    for left in reversed(range(_ATTEMPTS)):
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            [node_id] = wait_until(partial(_joined, process, before), 60, "the new node")
        except BaseException as error:
            _end(process)
            if not left or not isinstance(error, ChildProcessError):
                raise
        else:
            return process, node_id
    raise AssertionError("unreachable")


def _joined(process: subprocess.Popen[bytes], before: Set[str]) -> Set[str]:
    if process.poll() is not None:
        raise ChildProcessError("the node has ended before it was there")
    return alive_nodes().keys() - before


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # it ends the processes of its node
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def drain(node_id: str, within_s: float) -> None:
    """Announce the end of a node, as `ray drain-node` and autoscalers do.

    Ray places nothing new there. The node ends by itself as soon as nothing runs on it.
    """
    store = ray._private.worker.global_worker.gcs_client
    until = int((time.time() + within_s) * 1000)
    accepted, reason = store.drain_node(node_id, _PREEMPTION, "a test", until)
    assert accepted, reason
