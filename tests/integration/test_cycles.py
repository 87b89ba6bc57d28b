"""Applications that come and go leave nothing behind in the cluster's store or in this process."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults.cycles import holdings, routers_of, run_cycles, stored
from tests.integration.instance import Instance

from alacarte._process import router_table
from alacarte.testing import wait_until


def test_nothing_is_left_of_applications_that_are_gone(
    here: Instance, monkeypatch: pytest.MonkeyPatch
):
    """After new names were run, called and deleted, tasks, routers, keys and classes are as before.

    `python -m tests.faults.cycles` does it a thousand times, and counts memory.
    """
    monkeypatch.setattr(router_table, "LINGER_S", 0.5)
    names = (f"cycle-{number}" for number in range(10**9))

    def held() -> dict[str, Any]:
        return holdings() | {"classes": stored(here.kind)}

    def grown() -> dict[str, Any]:
        # What other tests have left may go meanwhile.
        return {name: count for name, count in held().items() if count > before[name]}

    run_cycles(names, 1, here.url)
    wait_until(lambda: not routers_of("cycle-"), 20, "the end of the first routers")
    before = held()
    run_cycles(names, 3, here.url)
    wait_until(lambda: not grown(), 20, f"what there was: {before}")
    assert not routers_of("cycle-")
