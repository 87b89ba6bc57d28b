"""Hook implementations of alacarte-http."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

import alacarte_http
from alacarte.errors import ConfigError
from alacarte_http import hooks
from alacarte_http.config import HTTPOptions


def sections(options):
    """A configuration with this `http` section."""
    return SimpleNamespace(section=lambda name: options)


def test_registered_names_exist():
    """Every registered import path exists."""
    specs = [*hooks.register_api(), *hooks.register_config(), *hooks.register_node_services()]
    for spec in specs:
        module, _, attribute = spec.target.partition(":")
        assert getattr(importlib.import_module(module), attribute)


def test_the_protocols():
    """The plugin registers the protocols "http" and "websocket"."""
    assert {protocol.name for protocol in hooks.register_protocols()} == {"http", "websocket"}


def test_the_hooks_load_nothing():
    """Calling the register hooks imports neither Starlette nor uvicorn."""
    code = (
        "import sys, alacarte_http.hooks as hooks\n"
        "hooks.register_api(), hooks.register_modules(), hooks.register_config()\n"
        "hooks.register_node_services()\n"
        "heavy = {'starlette', 'uvicorn', 'pydantic', 'ray', 'httptools'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("first", ["from alacarte import serve", "import starlette"])
def test_starlette_is_there_for_annotations(first):
    """After `import starlette`, a handler may be annotated with `starlette.requests.Request`.

    It is loaded with `serve.deployment`, not with `alacarte`, which stays light.
    """
    assert hooks.register_modules() == ["starlette.requests"]
    code = (
        f"{first}\n"
        "import sys, starlette\n"
        "from alacarte import serve\n"
        "assert 'starlette.requests' not in sys.modules\n"
        "@serve.deployment\n"
        "class Model:\n"
        "    def __call__(self, request: starlette.requests.Request): ...\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names():
    """`HTTPOptions` is loaded on first use; other names raise AttributeError."""
    assert alacarte_http.HTTPOptions.__name__ == "HTTPOptions"
    assert not hasattr(alacarte_http, "Nothing")


@pytest.mark.parametrize(
    ("location", "enabled", "head_only"),
    [("Disabled", False, False), ("HeadOnly", True, True), ("EveryNode", True, False)],
)
def test_where_proxies_run(location: str, enabled: bool, head_only: bool):
    """`location` decides whether proxies run, and whether on the head node only."""
    config = SimpleNamespace(section=lambda name: HTTPOptions(location=location))
    [service] = hooks.register_node_services()
    assert (service.enabled(config), service.head_only(config)) == (enabled, head_only)


def test_the_port_is_tried_before_a_cluster_starts():
    """`check_start` refuses a port in use, and leaves a free port free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
            hooks.check_start(sections(HTTPOptions(port=port)))
        hooks.check_start(sections(HTTPOptions(port=port, location="Disabled")))
    hooks.check_start(sections(HTTPOptions(port=port)))
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"host": "0.0.0.0"}, "host='0.0.0.0' accepts requests from other machines"),
        ({"ssl_certfile": "/no/cert", "ssl_keyfile": "/no/key"}, "ssl_certfile='/no/cert' cannot"),
    ],
)
def test_host_and_certificates_are_checked_before_a_cluster_starts(options, reason):
    """`check_start` checks the host and the certificates."""
    with pytest.raises(ConfigError, match=reason):
        hooks.check_start(sections(HTTPOptions(**options)))


def test_requests_are_shown_in_the_foreground():
    """The access log is on by default in the foreground, and options can turn it off."""
    [section] = hooks.register_config()
    assert HTTPOptions(**section.foreground).access_log == "text"
    assert HTTPOptions().access_log == "off"
