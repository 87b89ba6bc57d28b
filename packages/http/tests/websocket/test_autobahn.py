"""The cases of the Autobahn test suite, against an echo behind the proxy."""

from __future__ import annotations

from typing import Any

import kosoku
import pytest

from .apps import echo
from .support import serve_app

pytestmark = pytest.mark.once

LEFT_OUT = ["9.*", "12.*", "13.*"]
"""Measurements of speed, and permessage-deflate, which the proxy does not agree on."""


async def test_every_case_of_autobahn_passes(site: Any) -> None:
    """The Autobahn test suite for RFC 6455 passes, messages and close codes."""
    serve_app(site, echo)
    url = f"ws://127.0.0.1:{site.port}/"
    # It raises when a case fails, and lists those that did.
    results = await kosoku.run_fuzzingclient(url, exclude_cases=LEFT_OUT, concurrency=2)
    assert len(results) == 247
    assert all(result.passed for result in results)
