"""Every example in the documentation runs, and does what the page says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, blocks, clusters, pages

PROGRAM = Path(__file__).with_name("program.py")
RUN = ("python", "console")
READ = ("", "sh", "text", "toml", "yaml", "diff")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cases() -> list[object]:
    found = []
    for path in pages():
        if not any(block.language in RUN for block in blocks(path)):
            continue
        for cluster in clusters(path):
            marks = [pytest.mark.ray] if cluster == "ray" else []
            name = f"{path.relative_to(ROOT)}-{cluster}"
            found.append(pytest.param(path, cluster, id=name, marks=marks))
    return found


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """The address of a Ray for all pages, one after the other: each would take seconds to start."""
    import ray

    # `local` makes it a new one: a Ray that runs on this machine is somebody else's.
    context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("path", "cluster"), cases())
def test_page(path: Path, cluster: str, tmp_path: Path, request: pytest.FixtureRequest):
    """The code of a page runs from top to bottom, and prints what its comments say."""
    # First of all: when Ray starts here, it says in the environment how to join it.
    address = request.getfixturevalue("ray_address") if cluster == "ray" else ""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ALACARTE_")}
    if address:
        environment["RAY_ADDRESS"] = address
    done = subprocess.run(
        [sys.executable, PROGRAM, path, cluster, str(free_port())],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_languages_are_known(path: Path):
    """A block says what it is, so that none is passed over because of a misspelling."""
    used = {block.language for block in blocks(path)}
    assert {each for each in used if not each.startswith("{")} <= {*RUN, *READ}


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_work_as_typed(path: Path):
    """No page types `serve`, which is Ray's program where uv has installed the two."""
    typed = [line for block in blocks(path) for line in block.text.splitlines()]
    assert [line for line in typed if line.removeprefix("$ ").startswith("serve ")] == []


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_code_fits_the_column(path: Path):
    """No line of code is wider than the column of the built pages."""
    shown = [block for block in blocks(path) if block.language in ("python", "console", "sh")]
    if path.is_relative_to(ROOT / "docs"):
        assert [
            line for block in shown for line in block.text.splitlines() if len(line) > 100
        ] == []
