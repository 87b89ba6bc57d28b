from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from alacarte.testing import wait_until
from alacarte_cli.signal_watch import SignalWatch


class Handler:
    """A handler that counts signals, or pretends to be stuck."""

    def __init__(self) -> None:
        self.handled = 0
        self.stuck = False
        self.gave_up: list[int] = []

    def receive(self, number: int, frame: object) -> None:
        if not self.stuck:
            self.handled += 1

    def watch(self, patience_s: float) -> SignalWatch:
        return SignalWatch(lambda: self.handled, self.gave_up.append, patience_s)


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    before = {
        each: signal.signal(each, handler.receive) for each in (signal.SIGINT, signal.SIGTERM)
    }
    yield handler
    for number, was in before.items():
        signal.signal(number, was)


def test_a_signal_that_is_handled(handler: Handler) -> None:
    """The watch does nothing while the main thread handles the signals."""
    watch = handler.watch(3600.0)
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)
    watch.close()
    assert (handler.handled, handler.gave_up) == (3, [])


def test_a_signal_without_handling(handler: Handler) -> None:
    """The watch gives up after its patience, with the signal's number."""
    handler.stuck = True
    watch = handler.watch(0.01)
    signal.raise_signal(signal.SIGTERM)
    wait_until(lambda: handler.gave_up, 10, "the watch to act")
    watch.close()
    assert handler.gave_up == [signal.SIGTERM]


def test_two_signals_are_more_urgent(handler: Handler) -> None:
    """A repeated signal shortens the patience."""
    handler.stuck = True
    watch = handler.watch(3600.0)
    signal.raise_signal(signal.SIGINT)
    assert handler.gave_up == []
    signal.raise_signal(signal.SIGINT)
    wait_until(lambda: handler.gave_up, 10, "the watch to act")
    watch.close()


def test_it_leaves_the_wakeup_descriptor_as_it_was(handler: Handler) -> None:
    """Closing the watch restores the wakeup descriptor of an event loop."""
    handler.watch(1.0).close()
    assert signal.set_wakeup_fd(-1) == -1
