"""A tester that makes up requests from an application's schema, legal ones and others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.instance import Instance

from alacarte import serve

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("schemathesis") is None,
    reason="needs fastapi and schemathesis",
)


@pytest.mark.parametrize("cluster", ["local"], indirect=True, scope="module")
def test_an_api_behind_the_ingress(here: Instance, tmp_path: Path):
    """No request makes an error of the server, and every response is what the schema says."""
    from tests.integration.api import Items

    serve.run(Items.bind(), route_prefix="/shop")
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--no-color", "run"),
            f"{here.url}/shop/openapi.json",
            *("--phases", "coverage,fuzzing", "--max-examples", "5", "--generation-deterministic"),
            # Starlette's router names the methods of one route in `Allow`, not those of all.
            *("--checks", "all", "--exclude-checks", "allow_header_conformance"),
            *("--request-timeout", "30", "--warnings", "off"),
        ],
        cwd=tmp_path,  # it keeps what it has found out there
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    here.settled()
