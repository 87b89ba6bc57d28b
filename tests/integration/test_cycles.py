"""Applications that come and go leave nothing behind in the cluster's store or in this process."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults.cycles import holdings, run_cycles, stored
from tests.integration.instance import Instance

from alacarte._routing import router_table
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

    run_cycles(names, 1, here.url)
    wait_until(lambda: held()["routers"] == 0, 20, "the end of the first routers")
    before = held()
    run_cycles(names, 3, here.url)
    wait_until(lambda: held() == before, 20, f"what there was: {before}")
