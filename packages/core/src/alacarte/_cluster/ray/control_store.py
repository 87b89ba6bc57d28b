"""Calls to Ray's control store, each with a time limit, and the durable map in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ray import exceptions

from ..cluster_protocol import ClusterUnresponsive
from ..threads import BlockingCalls
from .error_cause import first_line
from .internals import STORE_TIMEOUT_S, store

__all__ = ["CALLS", "DurableMap", "answer"]

CALLS = BlockingCalls("alacarte-ray", 32)
_KV_NAMESPACE = b"alacarte"
T = TypeVar("T")


async def answer(
    purpose: str, call: Callable[[], T], undo: Callable[[T], object] | None = None
) -> T:
    """Run a call that blocks on Ray's control store in a thread, and return its result.

    Args:
        purpose: The purpose of the call, for the error: "listing nodes".
        undo: Takes a result that comes too late.

    Raises:
        ClusterUnresponsive: The control store has not answered in time.
    """
    try:
        return await CALLS.run(call, STORE_TIMEOUT_S, undo)
    except (TimeoutError, exceptions.RpcError) as error:
        why = f" ({first_line(error)})" if isinstance(error, exceptions.RpcError) else ""
        raise ClusterUnresponsive(
            f"Ray's control store has not answered within {STORE_TIMEOUT_S:g} s: {purpose}{why}. "
            "Running replicas are not affected; check the process gcs_server on Ray's head node."
        ) from None


class DurableMap:
    """The methods of `Cluster` that store bytes by key."""

    async def get(self, key: str) -> bytes | None:
        def call() -> bytes | None:
            found: bytes | None = store().internal_kv_get(
                key.encode(), _KV_NAMESPACE, timeout=STORE_TIMEOUT_S
            )
            return found

        return await answer("reading the state", call)

    async def put(self, key: str, value: bytes) -> None:
        def call() -> None:
            store().internal_kv_put(
                key.encode(), value, True, _KV_NAMESPACE, timeout=STORE_TIMEOUT_S
            )

        await answer("storing the state", call)

    async def delete(self, key: str) -> None:
        def call() -> None:
            store().internal_kv_del(key.encode(), False, _KV_NAMESPACE, timeout=STORE_TIMEOUT_S)

        await answer("deleting the state", call)

    async def keys(self, prefix: str) -> list[str]:
        def call() -> list[str]:
            found: list[bytes] = store().internal_kv_keys(
                prefix.encode(), _KV_NAMESPACE, timeout=STORE_TIMEOUT_S
            )
            return [key.decode() for key in found]

        return await answer("listing the stored state", call)
