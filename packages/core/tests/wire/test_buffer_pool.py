"""The pool of buffers for long messages: reuse, limit and review."""

import asyncio

from alacarte._wire import buffer_pool as module
from alacarte._wire.buffer_pool import BufferPool


def test_a_free_buffer_is_reused():
    """The next message of that size gets the memory of the last."""
    buffers = BufferPool()
    first = buffers.take(1000)
    known = id(first)
    del first
    assert id(buffers.take(1000)) == known


def test_a_buffer_in_use_is_left_alone():
    """A buffer is not reused while a reference to it, or to a view of it, exists."""
    buffers = BufferPool()
    first = buffers.take(1000)
    view = memoryview(first)[10:20]
    known = id(first)
    assert buffers.take(1000) is not first
    del first
    assert all(id(buffers.take(1000)) != known for _ in range(3))
    view.release()
    assert id(buffers.take(1000)) == known


def test_sizes_are_exact():
    """A buffer of another size is another buffer."""
    buffers = BufferPool()
    assert [len(buffers.take(size)) for size in (10, 11, 10, 0)] == [10, 11, 10, 0]


def test_the_pool_is_bounded():
    """Above the limit the oldest buffers are freed, and a very long buffer is not pooled."""
    buffers = BufferPool(limit=100)
    for size in (40, 50, 60, 200):
        buffers.take(size)
    assert sorted(map(len, buffers._pooled)) == [60]
    assert buffers._size == 60


def test_unused_buffers_are_freed():
    """A buffer stays pooled while it is used, and for one review after it was taken."""
    freed = []
    buffers = BufferPool(freed=lambda: freed.append(len(buffers._pooled)))
    held = buffers.take(1000)
    buffers.take(2000)
    buffers.review()
    assert (len(buffers._pooled), freed) == (2, [])
    buffers.review()
    assert (buffers._pooled, buffers._size, freed) == ([held], 1000, [1])
    del held
    buffers.take(1000)
    buffers.review()
    assert len(buffers._pooled) == 1
    buffers.review()
    assert (buffers._pooled, buffers._size, freed) == ([], 0, [1, 0])


async def test_reviews_come_by_themselves(monkeypatch):
    """Reviews go on while a buffer is pooled, on the loop where one was taken, and then stop."""
    monkeypatch.setattr(module, "REVIEW_INTERVAL_S", 0.001)
    done = asyncio.Event()
    buffers = BufferPool(freed=done.set)
    buffers.take(1000)
    await asyncio.wait_for(done.wait(), 10)
    assert buffers._pooled == []
    assert buffers._reviewing is None


def test_a_review_that_a_loop_did_not_live_to_make():
    """The next loop makes the review of a loop that has closed."""
    buffers = BufferPool()

    async def take() -> None:
        buffers.take(1000)
        assert buffers._reviewing is asyncio.get_running_loop()

    asyncio.run(take())
    asyncio.run(take())
