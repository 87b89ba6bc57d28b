from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_batching._batcher import Batcher
from alacarte_batching._limits import Limits


@dataclass(eq=False)
class Job:
    name: int = 0
    size: int = 1
    arrived: float = 0.0


def padded(jobs: Sequence[Job]) -> int:
    """As for padded sequences: not the sum of the sizes."""
    return max(job.size for job in jobs) * len(jobs)


@dataclass
class Add:
    size: int


@dataclass
class Wait:
    seconds: float


@dataclass
class Discard:
    nth: int


@dataclass
class Finish:
    """The batch that has run longest ends."""


@dataclass
class Resize:
    size: int


steps = st.lists(
    st.one_of(
        st.builds(Add, st.integers(1, 6)),
        st.builds(Add, st.integers(1, 6)),
        st.builds(Wait, st.floats(0, 3)),
        st.builds(Discard, st.integers(0, 30)),
        st.builds(Finish),
        st.builds(Resize, st.integers(1, 8)),
    ),
    max_size=60,
)


class World:
    """Drives a batcher as the event loop does, and checks its invariants."""

    def __init__(self, limits: Limits, measured: bool) -> None:
        self.limits = limits
        self.measured = measured
        self.batcher = Batcher[Job](limits, padded if measured else None)
        self.now = 0.0
        self.free_since = 0.0
        self.running = 0
        self.added: list[Job] = []
        self.discarded: list[Job] = []
        self.batches: list[list[Job]] = []

    def waiting(self) -> list[Job]:
        done = {id(job) for batch in [*self.batches, self.discarded] for job in batch}
        return [job for job in self.added if id(job) not in done]

    def take(self, now: float | None) -> None:
        while batch := self.batcher.take(now):
            self.running += 1
            following = [job for job in self.waiting() if not any(job is each for each in batch)]
            waited = now is not None and now >= batch[0].arrived + self.limits.batch_wait_timeout_s
            assert waited or self.full(batch, following)
            assert self.running <= self.limits.max_concurrent_batches
            size = padded(batch) if self.measured else len(batch)
            assert size <= self.limits.max_batch_size or len(batch) == 1
            # Not late: no time went by since it could first have closed.
            due = max(batch[0].arrived + self.limits.batch_wait_timeout_s, self.free_since)
            assert self.now <= due
            self.batches.append(batch)
        waiting = self.waiting()
        if waiting and self.running < self.limits.max_concurrent_batches:
            fits = [n for n in range(1, len(waiting) + 1) if self.full(waiting[:n], waiting[n:])]
            assert not fits, "a full batch was left waiting"

    def full(self, batch: list[Job], following: list[Job]) -> bool:
        """Return whether a batch is full, or the next item would exceed the limit."""
        limit = self.limits.max_batch_size
        if not self.measured:
            return len(batch) >= limit
        return padded(batch) >= limit or padded([*batch, *following[:1]]) > limit

    def apply(self, step: object) -> None:
        match step:
            case Add(size):
                self.added.append(Job(len(self.added), size))
                self.batcher.add(self.added[-1], self.now)
                self.take(None)
            case Wait(seconds):
                self.wait(self.now + seconds)
            case Discard(nth) if self.added:
                job = self.added[nth % len(self.added)]
                waits = any(job is each for each in self.waiting())
                assert self.batcher.discard(job) == waits
                if waits:
                    self.discarded.append(job)
            case Finish() if self.running:
                self.running -= 1
                self.free_since = self.now
                self.batcher.finish()
                self.take(self.now)
            case Resize(size):
                self.limits.set_max_batch_size(size)
                self.take(None)

    def wait(self, until: float) -> None:
        while (closes_at := self.batcher.closes_at()) is not None and closes_at <= until:
            self.now = max(self.now, closes_at)
            self.take(self.now)
        self.now = max(self.now, until)


@given(
    steps,
    st.integers(1, 8),
    st.floats(0, 2),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_item_runs_once_in_order_in_time(
    steps: list[object], size: int, timeout_s: float, concurrent: int, measured: bool
) -> None:
    """Each item is in one batch, in order, within size, time and concurrency.

    Those discarded while they wait are in none.
    """
    world = World(Limits(size, timeout_s, concurrent), measured)
    for step in steps:
        world.apply(step)
        assert len(world.batcher) == len(world.waiting())
    for _ in range(len(world.added) + world.running):
        world.wait(world.now + timeout_s)
        world.apply(Finish())
    ran = [job.name for batch in world.batches for job in batch]
    dropped = {job.name for job in world.discarded}
    assert ran == [job.name for job in world.added if job.name not in dropped]
    assert world.batcher.closes_at() is None


@given(st.integers(1, 20), st.integers(0, 60))
def test_full_batches_close_at_once(size: int, count: int) -> None:
    """Items that arrive together fill batches; the rest waits for the timeout."""
    batcher = Batcher[Job](Limits(size, 1e9, 1000))
    sizes = []
    for name in range(count):
        batcher.add(Job(name), now=0.0)
        sizes += [len(batch) for batch in iter(lambda: batcher.take(None), [])]
    assert sizes == [size] * (count // size)
    assert len(batcher) == count % size


def test_timeout_counts_from_first_item() -> None:
    """The timeout starts with a batch's first item."""
    batcher = Batcher[Job](Limits(10, 1.0))
    first, second = Job(1), Job(2)
    batcher.add(first, now=5.0)
    batcher.add(second, now=5.9)
    assert batcher.closes_at() == 6.0
    assert batcher.take(5.99) == []
    assert batcher.take(6.0) == [first, second]


def test_batch_gathers_while_none_may_run() -> None:
    """Behind a running batch, items gather past the timeout, up to a full batch."""
    batcher = Batcher[Job](Limits(3, 1.0))
    jobs = [Job(n) for n in range(6)]
    batcher.add(jobs[0], now=0.0)
    assert batcher.take(1.0) == [jobs[0]]
    for job in jobs[1:]:
        batcher.add(job, now=1.0)
    assert batcher.closes_at() is None
    assert batcher.take(99.0) == []
    batcher.finish()
    assert batcher.take(99.0) == jobs[1:4]


def test_discarding_the_first_moves_the_timeout() -> None:
    """After a discard of the first item, the timeout starts with the second."""
    batcher = Batcher[Job](Limits(10, 1.0))
    first, second = Job(1), Job(2)
    batcher.add(first, now=0.0)
    batcher.add(second, now=0.5)
    assert batcher.discard(first)
    assert batcher.closes_at() == 1.5
    assert not batcher.discard(first)


def test_item_that_does_not_fit_closes_the_batch() -> None:
    """An item that would exceed the limit closes the batch, and starts the next."""
    batcher = Batcher[Job](Limits(10, 1.0, 2), padded)
    small, large = Job(1, 2), Job(2, 6)
    batcher.add(small, now=0.0)
    assert batcher.take(None) == []
    batcher.add(large, now=0.0)
    assert batcher.take(None) == [small]
    assert batcher.take(None) == []
    assert batcher.take(1.0) == [large]


def test_discarding_measures_anew() -> None:
    """After a discard, the items in front are measured again."""
    batcher = Batcher[Job](Limits(6, 1.0), padded)
    gone, small, large = Job(1, 1), Job(2, 1), Job(3, 6)
    for job in (gone, small):
        batcher.add(job, now=0.0)
        assert batcher.take(None) == []
    batcher.discard(gone)
    batcher.add(large, now=0.0)
    assert batcher.take(None) == [small]


def test_item_larger_than_a_lowered_limit_runs_alone() -> None:
    """An item accepted under a higher limit runs in a batch of its own."""
    limits = Limits(10, 1.0, 2)
    batcher = Batcher[Job](limits, padded)
    large, small = Job(1, 6), Job(2, 1)
    batcher.add(large, now=0.0)
    batcher.add(small, now=0.0)
    limits.set_max_batch_size(2)
    assert batcher.take(None) == [large]


def test_each_item_is_measured_once_while_a_batch_fills() -> None:
    """`batch_size_fn` is called once per new item."""
    looks: list[int] = []

    def measure(jobs: Sequence[Job]) -> int:
        looks.append(len(jobs))
        return len(jobs)

    batcher = Batcher[Job](Limits(100, 1.0), measure)
    for name in range(5):
        batcher.add(Job(name), now=0.0)
        batcher.take(None)
        batcher.take(None)
    assert looks == [1, 2, 3, 4, 5]


def test_measure_that_raises_loses_no_item() -> None:
    """`take` raises the error of the measure, and all items still wait."""

    def measure(jobs: Sequence[Job]) -> int:
        raise ZeroDivisionError

    batcher = Batcher[Job](Limits(), measure)
    job = Job()
    batcher.add(job, now=0.0)
    with pytest.raises(ZeroDivisionError):
        batcher.take(None)
    assert batcher.clear() == [job]
    assert batcher.closes_at() is None
