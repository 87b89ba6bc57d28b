"""Failures of plugins: kept by kind, logged once, bounded."""

from __future__ import annotations

import gc
import logging
import time
import weakref

import pytest

from alacarte._plugins.plugin_failures import MAX_FAILURES, PluginFailures


@pytest.fixture
def failures() -> PluginFailures:
    return PluginFailures()


def test_the_first_of_a_kind_is_logged(failures: PluginFailures, caplog: pytest.LogCaptureFixture):
    """The first failure of a kind is logged with plugin, subject and traceback; all are counted."""
    for _ in range(3):
        failures.note("keys", "wrap_caller", KeyError("secret"), "deployment a#D")
    failures.note("keys", "wrap_caller", ValueError("x"), "deployment a#D")
    assert [(each.message, each.count) for each in failures.values()] == [
        ("KeyError: 'secret'", 3),
        ("ValueError: x", 1),
    ]
    first, second = caplog.records
    assert first.levelno == logging.ERROR
    assert first.getMessage() == (
        "plugin keys failed in wrap_caller for deployment a#D: KeyError: 'secret'"
    )
    assert first.exc_info is not None
    assert "ValueError" in second.getMessage()


def test_the_latest_stands_last(failures: PluginFailures):
    """Failures are ordered by their latest occurrence, and can be filtered by time."""
    failures.note("a", "on_event", KeyError("x"))
    failures.note("b", "on_event", KeyError("x"))
    failures.note("a", "on_event", KeyError("x"))
    assert [each.plugin for each in failures.values()] == ["b", "a"]
    assert failures.values(since=time.time() + 60) == ()


def test_kinds_are_bounded(failures: PluginFailures):
    """Beyond a number of kinds, the oldest kind is dropped."""
    for number in range(MAX_FAILURES + 10):
        failures.note("keys", "wrap_caller", KeyError("x"), f"deployment {number}")
    kept = [each.subject for each in failures.values()]
    assert len(kept) == MAX_FAILURES
    assert kept[-1] == f"deployment {MAX_FAILURES + 9}"


def test_long_messages_are_cut(failures: PluginFailures):
    """Messages in the status are cut to a maximal length."""
    failures.note("keys", "on_event", ValueError("x" * 10_000))
    assert len(failures.values()[0].message) == 500


class Watcher:
    """A watcher that counts its calls."""

    def __init__(self) -> None:
        self.told = 0

    def changed(self) -> None:
        self.told += 1


def test_watching(failures: PluginFailures):
    """Each failure calls the watcher, until the watch ends; ending it twice is harmless."""
    watcher = Watcher()
    unwatch = failures.watch(watcher.changed)
    failures.note("a", "on_event", KeyError("x"))
    unwatch()
    unwatch()
    failures.note("a", "on_event", KeyError("x"))
    assert watcher.told == 1


def test_a_watcher_that_is_gone_is_not_kept(failures: PluginFailures):
    """A watcher that is gone, such as a killed process's runtime, is not referenced."""
    watcher = Watcher()
    failures.watch(watcher.changed)
    gone = weakref.ref(watcher)
    del watcher
    gc.collect()
    assert gone() is None
    assert not failures._watchers
    failures.note("a", "on_event", KeyError("x"))
