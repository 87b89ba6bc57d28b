"""Calls of Python methods, created without a handle."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from alacarte.calls import new_request_id


def test_request_ids_differ():
    """Request ids are unique in all threads, also between two drawn batches."""
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: [new_request_id() for _ in range(500)], range(16)))
    ids = [each for some in drawn for each in some]
    assert len(set(ids)) == 8000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
