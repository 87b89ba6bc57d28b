"""The programs under examples/ run, on both clusters, and say what they should."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.docs.pages import ROOT
from tests.docs.test_examples import free_port

PROGRAMS = sorted(path.parent.name for path in (ROOT / "examples").glob("*/main.py"))
SAYS = {
    "digits": "of 100 held-out images right",
    "events": "Why is a good question.",
    "quickstart": "over HTTP: Hello, Grace!",
    "streaming": "Words\narrive\none\n",
}


def test_every_program_is_known():
    """A new example comes with what it must say."""
    assert sorted(SAYS) == PROGRAMS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cluster", ["local", pytest.param("ray", marks=pytest.mark.ray)])
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, cluster: str):
    """It ends with 0, after it has asked itself over HTTP and got the right answers."""
    if program == "digits":
        pytest.importorskip("sklearn", reason="the example is about scikit-learn")
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ALACARTE_")}
    # `local` makes Ray start one of its own, whatever else runs on this machine.
    environment |= {
        "ALACARTE_CLUSTER": cluster,
        "ALACARTE_HTTP__PORT": str(free_port()),
        "RAY_ADDRESS": "local",
        # As on the smallest machine that people try examples on.
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 2}',
    }
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / program / "main.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAYS[program] in done.stdout
