"""Probes of a control store: accepting, refusing, stopped and missing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from alacarte._cluster.cluster_protocol import ClusterUnresponsive
from alacarte._cluster.grpc_probe import GrpcProbeResult, probe
from alacarte._cluster.token_check import authenticate
from alacarte.errors import ConfigError

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ACCEPTED = SETTINGS + b"\x00\x00\x0f\x01\x05\x00\x00\x00\x01@\x0bgrpc-status\x010"
REFUSED = SETTINGS + b"\x00\x00\x10\x01\x05\x00\x00\x00\x01\x00\x0bgrpc-status\x0216"
TOKEN = "Bearer " + 64 * "f"

Answer = Callable[[bytes], bytes | None]
Listen = Callable[[Answer], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start a server that answers the first bytes of each connection; None: accept none."""
    listeners: list[socket.socket] = []

    def start(answer: Answer) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer(connection.recv(4096)) or b"")

        if answer(b"") is not None:
            threading.Thread(target=serve, daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for each in listeners:
        each.shutdown(socket.SHUT_RDWR)
        each.close()


def says(answer: bytes | None) -> Answer:
    return lambda _: answer


def wants(token: str) -> Answer:
    """Answer as a control store of Ray's that requires a token."""
    return lambda call: ACCEPTED if token.encode() in call else REFUSED


class Tokens:
    """A fake of Ray's token."""

    def __init__(self, token: str = "", mode: str = "") -> None:
        self._token = token
        self.mode = mode
        self.enabled = False

    def header(self) -> str:
        return self._token

    def enable(self) -> None:
        self.enabled = True


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ACCEPTED, GrpcProbeResult.ACCEPTED),
        (REFUSED, GrpcProbeResult.REFUSED),
        (SETTINGS, GrpcProbeResult.UNCLEAR),
        (b"", GrpcProbeResult.UNCLEAR),
        (70_000 * b"x", GrpcProbeResult.UNCLEAR),
    ],
)
def test_an_answer(listen: Listen, answer: bytes, expected: GrpcProbeResult):
    """The status of the call tells whether it was accepted; other answers are unclear."""
    assert probe("127.0.0.1", listen(says(answer)), 20) is expected


def test_a_stopped_server_is_silent(listen: Listen):
    """The kernel accepts the connection of a stopped process, which sends nothing."""
    assert probe("127.0.0.1", listen(says(None)), 0.05) is GrpcProbeResult.SILENT


def test_a_port_without_a_server():
    """A refused connection is an error at once."""
    with pytest.raises(ConnectionRefusedError):
        probe("127.0.0.1", unused_port(), 20)


@pytest.mark.parametrize("length", [1, 126, 127, 254, 255, 300, 20_000])
def test_a_token_of_any_length(listen: Listen, length: int):
    """The token arrives whole, behind its length in HPACK's encoding."""
    seen: list[bytes] = []

    def answer(call: bytes) -> bytes:
        seen.append(call)
        return ACCEPTED

    probe("127.0.0.1", listen(answer), 20, length * "t")
    _, _, value = seen[-1].partition(b"authorization")
    size, shift, at = value[0], 0, 1
    if size == 127:
        while True:
            size += (value[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if value[at - 1] < 128:
                break
    assert size == length
    assert value[at:].startswith(min(length, 1000) * b"t")


def test_a_cluster_without_tokens_gets_none(listen: Listen):
    """A cluster that requires no token gets none."""
    tokens = Tokens(TOKEN)
    authenticate(f"127.0.0.1:{listen(says(ACCEPTED))}", tokens, 20)
    assert not tokens.enabled


def test_a_cluster_with_tokens_gets_this_process_s_token(listen: Listen):
    """A cluster that requires a token and accepts this process's gets it from now on."""
    tokens = Tokens(TOKEN)
    authenticate(f"127.0.0.1:{listen(wants(TOKEN))}", tokens, 20)
    assert tokens.enabled


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (Tokens("Bearer wrong"), "refused the token of this process: set RAY_AUTH_TOKEN_PATH"),
        (Tokens("Bearer wrong", "token"), "refused the token of this process: set RAY_AUTH_TOKEN"),
        (Tokens(), "requires a token, and this process has none: set RAY_AUTH_TOKEN_PATH"),
        (Tokens(mode="token"), "requires a token, and this process has none: set RAY_AUTH_TOKEN"),
        (
            Tokens(TOKEN, "disabled"),
            "requires a token, and RAY_AUTH_MODE=disabled keeps .*: unset RAY_A",
        ),
    ],
)
def test_a_refusal(listen: Listen, tokens: Tokens, reason: str):
    """The error names the cluster that refuses this process, the cause and the remedy."""
    address = f"127.0.0.1:{listen(wants(TOKEN))}"
    with pytest.raises(ConfigError, match=f"the Ray cluster at {address} {reason}"):
        authenticate(address, tokens, 20)
    assert not tokens.enabled


def test_a_stopped_control_store(listen: Listen):
    """A control store that accepts connections and sends nothing is an error after a limit."""
    with pytest.raises(ClusterUnresponsive, match=r"has not answered for 0\.05 s"):
        authenticate(f"127.0.0.1:{listen(says(None))}", Tokens(), 0.05)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nonsense"])
def test_other_addresses_are_rays_to_check(address: str):
    """Addresses other than host and port are not probed."""
    authenticate(address, Tokens(), 20)
