"""What the scripts of this folder share.

Each runs as a program in a clean environment that holds one choice of packages, put there by
`nox -s combinations`: no test runner, nothing but what that choice brings.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

OURS = ["autoscaling", "batching", "cli", "endpoints", "handles", "http", "multiplexing"]

FAILS = """\
from alacarte import serve


@serve.deployment
class Fails:
    def __init__(self):
        raise RuntimeError("no model here")


app = Fails.bind()
"""


def installed(*names: str) -> None:
    """Check that these of our plugins are importable, the others not, and no source tree is."""
    for name in OURS:
        found = importlib.util.find_spec(f"alacarte_{name}") is not None
        assert found == (name in names), f"alacarte-{name}: installed is {found}"
    import alacarte

    assert Path(alacarte.__file__).is_relative_to(sys.prefix), alacarte.__file__


@contextlib.contextmanager
def asks_for(package: str) -> Iterator[None]:
    """Check that the block fails with an error which says to install `package`."""
    told = ""
    # Of whatever type: a missing name may have to be an AttributeError or an ImportError, too.
    try:
        yield
    except Exception as error:
        told = str(error)
    assert f"pip install {package}" in told, told or f"nothing asked for {package}"


def without_ray() -> None:
    """Check that nothing so far has imported Ray: the local cluster does without."""
    assert "ray" not in sys.modules


def running(name: str = "default") -> None:
    """Check that the application is up."""
    from alacarte import serve

    assert serve.status().applications[name].status == "RUNNING", serve.status()


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> str:
    """Return the body that `url` answers with."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def shell(*command: str, expect: int = 0) -> str:
    """Run a program from PATH and return what it printed on both of its outputs."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def programs() -> None:
    """Check that `alacarte` is ours, and that `alacarte doctor` puts our `serve` on PATH.

    Ray brings a `serve` of its own, and which one is left depends on the installer.
    """
    scripts = Path(sys.prefix) / "bin"
    for name in ("alacarte", "serve"):
        assert Path(shutil.which(name) or "nowhere") == scripts / name
    assert "doctor" in shell("alacarte", "--help")
    theirs = "alacarte" not in (scripts / "serve").read_text()
    print(f"  {os.environ['ALACARTE_INSTALLER']} left {'Ray' if theirs else 'our'}'s `serve`")
    told = shell("alacarte", "doctor", expect=1 if theirs else 0)
    assert "serve" in told, told
    if theirs:
        assert "ray" in told.lower(), told
    # Whoever runs an application is told, whatever becomes of the application.
    Path("fails.py").write_text(FAILS)
    told = shell("alacarte", "run", "--local", "fails:app", expect=1)
    assert ("is Ray's" in told) == theirs, told
    assert shell(sys.executable, "-m", "alacarte", "--version").startswith("alacarte-cli ")
    shell("alacarte", "doctor", "--fix")
    told = shell("alacarte", "run", "--local", "fails:app", expect=1)
    assert "no model here" in told, told
    assert "is Ray's" not in told, told
    assert "alacarte_cli" in (scripts / "serve").read_text()
    shell("alacarte", "doctor")
    assert "doctor" in shell("serve", "--help")


def done() -> None:
    """Say that this combination works, and with what."""
    ours = [f"alacarte-{name}" for name in ["core", *OURS]]
    versions = []
    for name in [*ours, "ray"]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    print("  works:", ", ".join(versions))
