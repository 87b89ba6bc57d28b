"""A stranger's plugin that brings hooks, and another stranger's that implements them.

They lie in tests/foreign_plugin_extends and tests/foreign_plugin_extension; `nox -s contract`
builds and installs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alacarte import serve
from alacarte.plugins import load_plugins
from alacarte.testing import check_plugin

pytest.importorskip("audit_trail", reason="nox -s contract installs tests/foreign_plugin_extends")
audit_memory = pytest.importorskip(
    "audit_memory", reason="nox -s contract installs tests/foreign_plugin_extension"
)
ROOT = Path(__file__).parents[2]


@serve.deployment(name="Model")
class Model:
    def __call__(self, word: str) -> str:
        return word


@pytest.fixture
def local() -> Iterator[Any]:
    """`serve` on a local cluster without HTTP, and nothing noted yet."""
    audit_memory.notes.clear()
    audit_memory.opened.clear()

    def start(**options: Any) -> Any:
        serve.start(cluster="local", proxy_location="Disabled", **options)
        return serve

    yield start
    serve.shutdown()


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alacarte_cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", ["audit_trail", "audit_memory"])
def test_they_keep_the_rules(name: str):
    """As every plugin's first test says; and nothing of ours knows them."""
    assert check_plugin(name).state == "loaded"
    sources = (ROOT / "packages").glob("*/src/**/*.py")
    assert not [path for path in sources if name in path.read_text(encoding="utf-8")]


def test_one_extends_the_other(local):
    """The sinks that one registers get what the other notes; it is told when notes begin."""
    started = local(audit_trail_options={"enabled": True})
    handle = started.run(Model.bind(), name="shop", route_prefix=None)
    assert handle.remote("word").result() == "word"
    assert audit_memory.notes == ["__call__"]
    assert audit_memory.opened == [("shop#Model", ["memory"])]


def test_a_hook_that_may_be_absent(local):
    """The extension implements one more, which this version of its host does not bring."""
    assert "register_audit_filters" not in load_plugins().specifications
    assert "audit_memory" in {record.name for record in load_plugins().loaded}


def test_their_hooks_are_listed():
    """`alacarte plugins --hooks` shows who brings a hook and who implements it."""
    lines = run("plugins", "--hooks").stdout.splitlines()
    [line] = [line for line in lines if line.startswith("register_audit_sinks")]
    assert line.split() == ["register_audit_sinks", "audit_trail", "audit_memory"]


def test_without_its_host_the_extension_is_failed():
    """Its hooks are nobody's then: it is failed by name, and the exit code says so."""
    done = run("plugins", ALACARTE_DISABLE_PLUGINS="audit-trail-for-alacarte")
    assert done.returncode == 1
    assert "audit_memory is failed: PluginError: audit_memory.hooks implements an unknown hook" in (
        done.stdout
    )
