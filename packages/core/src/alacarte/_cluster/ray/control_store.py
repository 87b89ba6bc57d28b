"""Questions to Ray's control store, each with a time limit, and the durable map in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ray import exceptions

from ..cluster_protocol import ClusterUnresponsive
from ..threads import BlockingCalls
from .error_cause import first_line
from .internals import ANSWER_S, store

__all__ = ["CALLS", "DurableMap", "answer"]

CALLS = BlockingCalls("alacarte-ray", 32)
_KV_NAMESPACE = b"alacarte"
T = TypeVar("T")


async def answer(what: str, ask: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """Run a call that blocks on Ray's control store, which may be gone, in a thread.

    Args:
        what: Is asked for, in the error.
        undo: What to do with an answer that comes too late.

    Raises:
        ClusterUnresponsive: There is no answer in time.
    """
    try:
        return await CALLS.run(ask, ANSWER_S, undo)
    except (TimeoutError, exceptions.RpcError) as error:
        why = f" ({first_line(error)})" if isinstance(error, exceptions.RpcError) else ""
        raise ClusterUnresponsive(
            f"Ray's control store has not answered within {ANSWER_S:g} s: {what}{why}. What runs "
            "goes on without it; see to the process gcs_server on Ray's head node."
        ) from None


class DurableMap:
    """The part of `Cluster` that stores bytes under names."""

    async def get(self, key: str) -> bytes | None:
        def ask() -> bytes | None:
            found: bytes | None = store().internal_kv_get(
                key.encode(), _KV_NAMESPACE, timeout=ANSWER_S
            )
            return found

        return await answer("reading the state", ask)

    async def put(self, key: str, value: bytes) -> None:
        def ask() -> None:
            store().internal_kv_put(key.encode(), value, True, _KV_NAMESPACE, timeout=ANSWER_S)

        await answer("storing the state", ask)

    async def delete(self, key: str) -> None:
        def ask() -> None:
            store().internal_kv_del(key.encode(), False, _KV_NAMESPACE, timeout=ANSWER_S)

        await answer("deleting the state", ask)

    async def keys(self, prefix: str) -> list[str]:
        def ask() -> list[str]:
            found: list[bytes] = store().internal_kv_keys(
                prefix.encode(), _KV_NAMESPACE, timeout=ANSWER_S
            )
            return [key.decode() for key in found]

        return await answer("listing what is stored", ask)
