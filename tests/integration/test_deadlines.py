"""An instance whose requests have little time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.applications import Gated
from tests.integration.conftest import started
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.testing import wait_until


@pytest.fixture(scope="module")
def instance(cluster: str) -> Iterator[Instance]:
    yield from started(cluster, request_timeout_s=0.3)


def test_a_request_that_takes_too_long(here: Instance, tmp_path: Path):
    """504 when the time is over, wherever it was spent; the handler is cancelled."""
    serve.run(Gated.options(max_ongoing_requests=1).bind(str(tmp_path)))
    assert here.get("/").status == 200
    answer = here.get("/wait")
    assert (answer.status, answer.text) == (504, "The application did not answer within 0.3 s.")
    assert 0.29 < answer.done_at - answer.sent_at < 2
    wait_until((tmp_path / "wait.cancelled").exists)
    here.settled()
    assert here.get("/").status == 200
