"""Buffers that are used again."""

from alacarte._wire.buffers import Buffers


def test_a_buffer_let_go_is_used_again():
    """The next message of that size gets the memory of the last."""
    buffers = Buffers()
    first = buffers.take(1000)
    known = id(first)
    del first
    assert id(buffers.take(1000)) == known


def test_a_buffer_in_use_is_left_alone():
    """As long as anybody refers to it, or to a view of it, nobody else gets it."""
    buffers = Buffers()
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
    buffers = Buffers()
    assert [len(buffers.take(size)) for size in (10, 11, 10, 0)] == [10, 11, 10, 0]


def test_what_is_kept_is_bounded():
    """The oldest go when there are too many, and a very long one is never kept."""
    buffers = Buffers(limit=100)
    for size in (40, 50, 60, 200):
        buffers.take(size)
    assert sorted(map(len, buffers._kept)) == [60]
    assert buffers._size == 60
