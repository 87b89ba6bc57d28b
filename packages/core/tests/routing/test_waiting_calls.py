"""The queue of waiting calls."""

from __future__ import annotations

import asyncio

import pytest

from alacarte._routing.waiting_calls import WaitingCalls
from alacarte.types import Call


def test_the_queue(run):
    """Calls join at the end or the front, and leave from anywhere."""

    async def main():
        queue: WaitingCalls[str] = WaitingCalls()
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(4)]
        calls = [Call("python", (bytes([n]),)) for n in range(4)]
        for n in (0, 1, 2):
            queue.add(calls[n], futures[n], front=False)
        queue.add(calls[3], futures[3], front=True)
        assert (len(queue), queue.peek_oldest()) == (4, (calls[3], futures[3]))
        queue.remove(futures[3])
        queue.remove(futures[1])
        queue.remove(futures[1])
        assert (len(queue), queue.peek_oldest()) == (2, (calls[0], futures[0]))
        futures[0].set_result("sent meanwhile")
        queue.fail_all(RuntimeError("no more"))
        assert (len(queue), queue.peek_oldest()) == (0, None)
        with pytest.raises(RuntimeError, match="no more"):
            await futures[2]

    run(main)
