"""TLS at the proxy, with keys and certificates created by the tests."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.testing import wait_until

from .. import gates

pytestmark = pytest.mark.once

SUBJECT = "/CN=localhost"
NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Files:
    """A self-signed certificate, its key with and without a password, and a client's."""

    def __init__(self, directory: Path) -> None:
        def path(name: str) -> str:
            return str(directory / name)

        def pair(name: str) -> tuple[str, str]:
            key, certificate = path(f"{name}.key"), path(f"{name}.pem")
            openssl(
                *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-days", "2", "-subj", SUBJECT, "-addext", NAMES),
                *("-keyout", key, "-out", certificate),
            )
            return key, certificate

        self.key, self.certificate = pair("server")
        self.client_key, self.client_certificate = pair("client")
        self.locked = path("locked.key")
        openssl("ec", "-aes256", "-passout", "pass:secret", "-in", self.key, "-out", self.locked)
        self.missing = path("missing.pem")
        self.text = path("text.pem")
        Path(self.text).write_text("not what it should be")

    @property
    def server(self) -> dict[str, Any]:
        return {"ssl_keyfile": self.key, "ssl_certfile": self.certificate}

    def client(self, *, shown: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.certificate)
        if shown:
            context.load_cert_chain(self.client_certificate, self.client_key)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@serve.deployment
async def scheme(request: Any) -> str:
    return f"{request.url.scheme} {request.url.hostname}"


def test_https(start: Any, files: Files):
    """Status shows https, clients verify the certificate, and applications see the scheme."""
    site = start(**files.server, workers=2)
    site.run(scheme.bind())
    assert site.url.startswith("https://127.0.0.1:")
    with httpx.Client(verify=files.client(), trust_env=False) as http:
        got = http.get(site.url)
    assert got.text == "https 127.0.0.1"
    assert got.http_version == "HTTP/1.1"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        site.http.get("/")


def test_plain_http_gets_nothing(start: Any, files: Files):
    """A client without TLS is disconnected."""
    site = start(**files.server)
    with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not client.recv(100).startswith(b"HTTP")


def test_a_key_with_a_password(start: Any, files: Files):
    """An encrypted key is loaded with its password."""
    options = {**files.server, "ssl_keyfile": files.locked}
    site = start(**options, ssl_keyfile_password="secret")
    with httpx.Client(verify=files.client(), trust_env=False) as http:
        assert http.get(f"{site.url}-/routes").status_code == 200


def test_mutual(start: Any, files: Files):
    """With `ssl_ca_certs`, only clients with a certificate are served."""
    site = start(**files.server, ssl_ca_certs=files.client_certificate)
    with httpx.Client(verify=files.client(shown=True), trust_env=False) as http:
        assert http.get(f"{site.url}-/routes").status_code == 200
    with (
        httpx.Client(verify=files.client(), trust_env=False) as http,
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)),
    ):
        http.get(f"{site.url}-/routes")


def test_a_restart_in_the_middle_of_a_handshake(start: Any, files: Files):
    """A client in its TLS handshake during a restart gets its response."""
    site = start(**files.server)
    site.run(scheme.bind())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = files.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        shaking.do_handshake()
    hello = outgoing.read()
    with socket.create_connection(("127.0.0.1", site.port), gates.WAIT_S) as client:
        client.sendall(hello[:20])
        # One more is answered, so the first has been accepted.
        with httpx.Client(verify=files.client(), trust_env=False) as http:
            assert http.get(f"{site.url}-/healthz").status_code == 200
        restart = threading.Thread(target=serve.restart_services, kwargs={"drain_s": 20})
        restart.start()
        wait_until(lambda: "http/local/0/old" in serve.status().services, gates.WAIT_S)
        restart.join(0.5)
        assert restart.is_alive()
        client.sendall(hello[20:])
        answer = b""
        asked = False
        while not answer.endswith(b"https localhost"):
            data = client.recv(65536)
            assert data, "hung up on"
            incoming.write(data)
            try:
                if not asked:
                    shaking.do_handshake()
                    shaking.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    asked = True
                while data := shaking.read(65536):
                    answer += data
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
    restart.join(gates.WAIT_S)
    assert not restart.is_alive()
    assert list(serve.status().services) == ["http/local/0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ssl_certfile": "missing"}, r"ssl_certfile='.*missing.pem' cannot be read \(No such"),
        ({"ssl_keyfile": "missing"}, r"ssl_keyfile='.*missing.pem' cannot be read \(No such"),
        ({"ssl_ca_certs": "missing"}, r"ssl_ca_certs='.*missing.pem' cannot be read"),
        ({"ssl_certfile": "text"}, r"ssl_certfile='.*text.pem' holds no certificate"),
        ({"ssl_keyfile": "text"}, r"ssl_keyfile='.*text.pem' holds no private key"),
        ({"ssl_ca_certs": "text"}, r"ssl_ca_certs='.*text.pem' holds no certificate"),
        ({"ssl_keyfile": "client_key"}, r"ssl_keyfile='.*' is not the key of ssl_certfile="),
        ({"ssl_keyfile": "locked"}, r"ssl_keyfile='.*' is encrypted\. Set ssl_keyfile_password"),
    ],
)
def test_mistakes(local: Any, files: Files, given: dict[str, str], message: str):
    """A mistake's error is one line with option and file, and no process is left."""
    options = {**files.server, **{name: getattr(files, each) for name, each in given.items()}}
    with pytest.raises(ConfigError, match=message) as caught:
        local.start(http_options={"port": 0, **options})
    assert "\n" not in str(caught.value)
    assert not local.status().services


def test_a_wrong_password(local: Any, files: Files):
    """A wrong password's error names the option, not the password."""
    options = {**files.server, "ssl_keyfile": files.locked, "ssl_keyfile_password": "swordfish"}
    with pytest.raises(ConfigError, match="ssl_keyfile_password does not decrypt") as caught:
        local.start(http_options={"port": 0, **options})
    assert "swordfish" not in str(caught.value)
