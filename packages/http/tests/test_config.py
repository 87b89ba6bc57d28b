"""The `http` section: valid options, and errors for mistakes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte_http import HTTPOptions
from alacarte_http._proxy.preflight import check_exposure
from alacarte_http.config import ProxyLocation, is_loopback


def test_defaults():
    """By default the proxy listens on this machine only, on port 8000, without a timeout."""
    options = HTTPOptions()
    assert (options.host, options.port) == ("127.0.0.1", 8000)
    assert (options.root_path, options.request_timeout_s) == ("", None)
    assert options.location is ProxyLocation.EVERY_NODE


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback(host, loopback):
    """A host that other machines can reach needs client certificates or `insecure`."""
    assert is_loopback(host) is loopback
    tls = dict.fromkeys(("ssl_keyfile", "ssl_certfile"), "x.pem")
    check_exposure(HTTPOptions(host=host, ssl_ca_certs="x.pem", **tls))
    check_exposure(HTTPOptions(host=host, insecure=True))
    for options in (HTTPOptions(host=host), HTTPOptions(host=host, **tls)):
        if loopback:
            check_exposure(options)
        else:
            with pytest.raises(ConfigError, match=r"ssl_ca_certs.*`alacarte run --insecure`"):
                check_exposure(options)


def test_ray_serves_variable_for_the_host(monkeypatch):
    """Ray Serve's variable sets the default host."""
    monkeypatch.setenv("RAY_SERVE_DEFAULT_HTTP_HOST", "127.0.0.2")
    assert HTTPOptions().host == "127.0.0.2"
    monkeypatch.setenv("RAY_SERVE_DEFAULT_HTTP_HOST", "")
    assert HTTPOptions().host == "127.0.0.1"


@pytest.mark.parametrize(
    "bad",
    [
        {"port": -1},
        {"port": 65536},
        {"port": "http"},
        {"root_path": "api"},
        {"root_path": "/api/"},
        {"root_path": "/"},
        {"request_timeout_s": 0},
        {"request_timeout_s": -1},
        {"keep_alive_timeout_s": 0},
        {"location": "Moon"},
        {"prot": 80},
    ],
)
def test_invalid_values(bad):
    """Invalid values raise when the options are created."""
    with pytest.raises(ValidationError):
        HTTPOptions(**bad)


def test_locations():
    """Locations have names, with Ray Serve's old one; without a host there is no proxy."""
    assert HTTPOptions(location="HeadOnly").location is ProxyLocation.HEAD_ONLY
    assert HTTPOptions(location="NoServer").location is ProxyLocation.DISABLED
    assert HTTPOptions(host=None).location is ProxyLocation.DISABLED


def test_public_names():
    """Options and locations have Ray Serve's import paths."""
    from alacarte.serve.config import HTTPOptions as Configured

    assert Configured is HTTPOptions
    assert serve.HTTPOptions is HTTPOptions
    assert serve.config.ProxyLocation is ProxyLocation


# --- options of serve.start -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prot": 80}, r"http_options: prot is not an option; allowed: .*port"),
        ({"port": 70000}, r"http_options: port=70000 must be less"),
        ({"host": "0.0.0.0"}, r"http: host='0.0.0.0' .*insecure=True"),
        (
            {"retry_methods": ["get"]},
            r"'get' is not an HTTP method; write methods as in",
        ),
    ],
)
def test_a_mistake_is_one_line(local, options, message):
    """`serve.start` names section, key and value in one line, and starts nothing."""
    with pytest.raises(ConfigError, match=message) as caught:
        local.start(http_options=options)
    assert "\n" not in str(caught.value)
    assert not local.status().proxies


def test_the_environment(local, monkeypatch):
    """`ALACARTE_HTTP__…` sets options that `serve.start` does not get."""
    monkeypatch.setenv("ALACARTE_HTTP__PORT", "0")
    monkeypatch.setenv("ALACARTE_HTTP__HOST", "127.0.0.2")
    local.start()
    [proxy] = local.status().proxies.values()
    assert proxy.url.startswith("http://127.0.0.2:")
    assert ":8000" not in proxy.url


def test_methods_in_the_environment():
    """Methods in the environment are separated by commas; there are none by default."""
    assert HTTPOptions().retry_methods == ()
    assert HTTPOptions(retry_methods="GET,HEAD").retry_methods == ("GET", "HEAD")


def test_arguments_win_over_the_environment(local, monkeypatch):
    """A model is accepted like a dict, and only its set fields override the environment."""
    monkeypatch.setenv("ALACARTE_HTTP__PORT", "1")
    monkeypatch.setenv("ALACARTE_HTTP__HOST", "127.0.0.2")
    local.start(http_options=HTTPOptions(port=0))
    [proxy] = local.status().proxies.values()
    assert proxy.url.startswith("http://127.0.0.2:")


def test_a_mistake_in_the_environment(local, monkeypatch):
    """An invalid option in the environment is reported like one in the arguments."""
    monkeypatch.setenv("ALACARTE_HTTP__PRT", "1")
    with pytest.raises(ConfigError, match="prt is not an option"):
        local.start()


@pytest.mark.parametrize("way", [{"http_options": {"host": None}}, {"proxy_location": "Disabled"}])
def test_no_proxy(local, way):
    """Without a host or when disabled, no proxy listens, and applications still run."""

    @serve.deployment
    def hello() -> str:
        return "hello"

    local.start(**way)
    local.run(hello.bind())
    assert local.status().proxies == {}
    assert local.status().applications["default"].status == "RUNNING"
