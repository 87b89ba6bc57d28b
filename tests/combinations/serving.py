"""Run an application from a shell, ask it, and end it with Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import free_port, get, shell

APPLICATION = """\
from alacarte import serve


@serve.deployment
def greeter(request) -> str:
    return "hello " + request.query_params["name"]


@serve.deployment
class Broken:
    def __init__(self):
        raise RuntimeError("no model here")


app = greeter.bind()
broken = Broken.bind()
"""


def as_typed(page: str) -> None:
    """Type a page's commands one after the other, in a clean directory, without Ray."""
    root = Path(__file__).parents[2]
    program = [sys.executable, root / "tests" / "docs" / "program.py", root / page]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*program, "local", str(free_port())], cwd=folder, check=True, timeout=180)


def serve_run(program: str, port: int) -> None:
    """Check `alacarte run` on the local cluster: it answers, ends cleanly, and fails plainly."""
    Path("greeting.py").write_text(APPLICATION)
    environment = {**os.environ, "ALACARTE_HTTP__PORT": str(port)}
    server = subprocess.Popen(
        [program, "run", "--local", "greeting:app"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # It says where it listens when it is ready; the line's end ends the wait, too.
        told = _told(server, str(port))
        assert _answer(f"http://127.0.0.1:{port}/?name=Ada", server) == "hello Ada"
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=90)
    finally:
        server.kill()
    assert server.returncode == 0, told + rest
    told = shell(program, "run", "--local", "greeting:broken", expect=1)
    assert "no model here" in told, told
    assert "greeting.py" in told, told
    shell(program, "run", "--local", "greeting:missing", expect=1)


def _told(server: subprocess.Popen[str], text: str) -> str:
    """Return what a program prints, up to the line with `text`."""
    assert server.stdout is not None
    told = ""
    for line in server.stdout:
        told += line
        if text in line:
            return told
    raise AssertionError(f"it ended before it said {text}: {told}")


def _answer(url: str, server: subprocess.Popen[str]) -> str:
    limit = time.monotonic() + 30
    while time.monotonic() < limit and server.poll() is None:
        with contextlib.suppress(OSError):
            return get(url)
        time.sleep(0.05)
    server.kill()
    raise AssertionError(f"no answer from {url}:\n{server.communicate()[0]}")
