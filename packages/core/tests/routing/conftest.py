"""The bench of the tests of routers."""

from __future__ import annotations

import pytest

from .support import Bench, benches


@pytest.fixture
def bench(run):
    """Run a coroutine function with a bench, in virtual time, and see that nothing is left."""
    return benches(run, Bench)
