"""Handles in processes where they cannot work fail with the reason."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ServeError

from .gates import WAIT_S


@serve.deployment
class Echo:
    def __call__(self, value: Any) -> Any:
        return value


@pytest.fixture
def echo(local):
    return local.run(Echo.bind())


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_after_a_fork(echo):
    """A call in a forked child fails at once; calls of the parent go on.

    The handle is in use, so that it holds what is of no use in the child.
    """
    assert echo.remote(1).result(timeout_s=WAIT_S) == 1
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # in the child nothing may escape: it is this test run, twice
        try:
            echo.remote(2)
        except ServeError as error:
            os.write(writing, str(error).encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    assert "forked" in told
    assert "'spawn'" in told
    assert echo.remote(3).result(timeout_s=WAIT_S) == 3


def test_in_another_process(echo):
    """A handle in a process without the local cluster fails with the reason."""
    program = (
        "import pickle, sys\n"
        "handle = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "try:\n    handle.remote(1)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    sent = pickle.dumps(echo).hex()
    done = subprocess.run(
        [sys.executable, "-c", program, sent],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "ALACARTE_CLUSTER": "local"},
    )
    assert done.stdout.startswith("ServeError alacarte is not running"), done.stderr
