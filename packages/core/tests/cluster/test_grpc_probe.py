"""A control store that lets us in is told from one that does not, from a stopped one, from none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from alacarte._cluster.cluster_protocol import ClusterUnresponsive
from alacarte._cluster.grpc_probe import ProbeResult, probe
from alacarte._cluster.token_check import admit
from alacarte.errors import ConfigError

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ACCEPTED = SETTINGS + b"\x00\x00\x0f\x01\x05\x00\x00\x00\x01@\x0bgrpc-status\x010"
REFUSED = SETTINGS + b"\x00\x00\x10\x01\x05\x00\x00\x00\x01\x00\x0bgrpc-status\x0216"
TOKEN = "Bearer " + 64 * "f"

Answer = Callable[[bytes], bytes | None]
Listen = Callable[[Answer], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen, and answer what comes first on each connection; None for never accepting one."""
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
    """A control store of Ray's that asks for a token."""
    return lambda call: ACCEPTED if token.encode() in call else REFUSED


class Tokens:
    """A stand-in for what Ray in this process knows of tokens."""

    def __init__(self, token: str = "", mode: str = "") -> None:
        self._token = token
        self.mode = mode
        self.enabled = False

    def header(self) -> str:
        return self._token

    def enable(self) -> None:
        self.enabled = True


def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ACCEPTED, ProbeResult.ACCEPTED),
        (REFUSED, ProbeResult.REFUSED),
        (SETTINGS, ProbeResult.UNCLEAR),
        (b"", ProbeResult.UNCLEAR),
        (70_000 * b"x", ProbeResult.UNCLEAR),
    ],
)
def test_an_answer(listen: Listen, answer: bytes, expected: ProbeResult):
    """The status of the call says whether it was accepted; other answers decide nothing."""
    assert probe("127.0.0.1", listen(says(answer)), 20) is expected


def test_who_only_listens_is_silent(listen: Listen):
    """A process that is stopped has its connections accepted by the kernel, and says nothing."""
    assert probe("127.0.0.1", listen(says(None)), 0.05) is ProbeResult.SILENT


def test_nobody():
    """Where nobody listens, that is an error at once."""
    with pytest.raises(ConnectionRefusedError):
        probe("127.0.0.1", nobody(), 20)


@pytest.mark.parametrize("length", [1, 126, 127, 254, 255, 300, 20_000])
def test_a_token_of_any_length(listen: Listen, length: int):
    """The token arrives whole, behind its length as HPACK writes it."""
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
    """Where the cluster asks for none, this process's token stays off."""
    tokens = Tokens(TOKEN)
    admit(f"127.0.0.1:{listen(says(ACCEPTED))}", tokens, 20)
    assert not tokens.enabled


def test_a_cluster_with_tokens_gets_ours(listen: Listen):
    """Where the cluster asks for a token and ours is its own, sending it is switched on."""
    tokens = Tokens(TOKEN)
    admit(f"127.0.0.1:{listen(wants(TOKEN))}", tokens, 20)
    assert tokens.enabled


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (Tokens("Bearer wrong"), "refused the token of this process: set RAY_AUTH_TOKEN_PATH"),
        (Tokens("Bearer wrong", "token"), "refused the token of this process: set RAY_AUTH_TOKEN"),
        (Tokens(), "asks for a token, and this process has none: set RAY_AUTH_TOKEN_PATH"),
        (Tokens(mode="token"), "asks for a token, and this process has none: set RAY_AUTH_TOKEN"),
        (
            Tokens(TOKEN, "disabled"),
            "asks for a token, and RAY_AUTH_MODE=disabled keeps .*: unset RAY_A",
        ),
    ],
)
def test_a_refusal(listen: Listen, tokens: Tokens, reason: str):
    """A cluster that refuses this process is named, with the cause and the remedy."""
    address = f"127.0.0.1:{listen(wants(TOKEN))}"
    with pytest.raises(ConfigError, match=f"the Ray cluster at {address} {reason}"):
        admit(address, tokens, 20)
    assert not tokens.enabled


def test_a_stopped_control_store(listen: Listen):
    """Nobody waits for a control store that takes connections and says nothing."""
    with pytest.raises(ClusterUnresponsive, match=r"has not said anything for 0\.05 s"):
        admit(f"127.0.0.1:{listen(says(None))}", Tokens(), 0.05)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nonsense"])
def test_other_addresses_are_rays_to_check(address: str):
    """An address of Ray's client, or none at all, is not asked."""
    admit(address, Tokens(), 20)
