"""A foreign plugin that specifies hooks, and another foreign plugin that implements them.

`nox -s contract` builds and installs tests/foreign_plugin_extends and
tests/foreign_plugin_extension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.foreign_plugins import files_naming, run_cli

from alacarte import serve
from alacarte.plugins import load_plugins
from alacarte.testing import check_plugin

pytest.importorskip("audit_trail", reason="nox -s contract installs tests/foreign_plugin_extends")
audit_memory = pytest.importorskip(
    "audit_memory", reason="nox -s contract installs tests/foreign_plugin_extension"
)


@serve.deployment(name="Model")
class Model:
    def __call__(self, word: str) -> str:
        return word


@pytest.fixture
def local() -> Iterator[Any]:
    """A function that starts a local cluster without HTTP; all notes are cleared."""
    audit_memory.notes.clear()
    audit_memory.opened.clear()

    def start(**options: Any) -> Any:
        serve.start(cluster="local", proxy_location="Disabled", **options)
        return serve

    yield start
    serve.shutdown()


@pytest.mark.parametrize("name", ["audit_trail", "audit_memory"])
def test_they_keep_the_rules(name: str):
    """Both plugins pass `check_plugin`, and no file of our packages names them."""
    assert check_plugin(name).state == "loaded"
    assert not files_naming(name)


def test_one_extends_the_other(local):
    """The sinks of the extension get the notes of the plugin, after a call of its hook."""
    started = local(audit_trail_options={"enabled": True})
    handle = started.run(Model.bind(), name="shop", route_prefix=None)
    assert handle.remote("word").result() == "word"
    assert audit_memory.notes == ["__call__"]
    assert audit_memory.opened == [("shop#Model", ["memory"])]


def test_a_hook_that_may_be_absent(local):
    """The extension may implement an optional hook that its host does not specify."""
    assert "register_audit_filters" not in load_plugins().specifications
    assert "audit_memory" in {record.name for record in load_plugins().loaded}


def test_their_hooks_are_listed():
    """`alacarte plugins --hooks` shows the specifying and implementing plugins of a hook."""
    lines = run_cli("plugins", "--hooks").stdout.splitlines()
    [line] = [line for line in lines if line.startswith("register_audit_sinks")]
    assert line.split() == ["register_audit_sinks", "audit_trail", "audit_memory"]


def test_without_its_host_the_extension_is_failed():
    """Without a specification of its hooks, the extension fails by name, with exit code 1."""
    done = run_cli("plugins", ALACARTE_DISABLE_PLUGINS="audit-trail-for-alacarte")
    assert done.returncode == 1
    assert "audit_memory is failed: PluginError: audit_memory.hooks implements an unknown hook" in (
        done.stdout
    )
