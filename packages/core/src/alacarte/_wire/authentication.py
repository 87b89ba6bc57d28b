"""Who may speak to a replica: a mutual challenge, before anything of a peer is interpreted.

    caller                                replica
    HELLO      version, replica, nonce →
               ← CHALLENGE version, nonce, mac("replica", …)
    PROOF      mac("caller", …)        →
               ← WELCOME   facts

Each mac is HMAC-SHA256 with the instance's secret over the role, both nonces, the replica's id and
the protocol version, so that a proof can neither be reflected nor replayed nor used at another
replica. The secret is handed out in calls between processes, and kept in memory: never on a command
line, in the environment or on disk. Sans-IO: bytes in, bytes out.
"""

from __future__ import annotations

import hmac
import json
import secrets
from struct import Struct
from typing import Any

from ..types import Buffer

__all__ = ["PROTOCOL_VERSION", "AuthenticationError", "CallerHandshake", "ReplicaHandshake"]

PROTOCOL_VERSION = 1
MAX_HANDSHAKE_BYTES = 4096
HANDSHAKE_TIMEOUT_S = 2.0
_MAGIC = b"alacarte"
_NONCE_BYTES = 32
_MAC_BYTES = 32
_VERSION = Struct("<H")


class AuthenticationError(Exception):
    """The peer is not who it must be, or speaks another version of the protocol."""


def _mac(secret: bytes, role: bytes, replica: str, caller: bytes, replier: bytes) -> bytes:
    transcript = b"\0".join((_MAGIC, role, _VERSION.pack(PROTOCOL_VERSION), replica.encode()))
    return hmac.digest(secret, transcript + b"\0" + caller + replier, "sha256")


class CallerHandshake:
    """The caller's half."""

    def __init__(self, secret: bytes, replica_id: str) -> None:
        self._secret = secret
        self._replica_id = replica_id
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._proved = False

    def hello(self) -> bytes:
        return _MAGIC + _VERSION.pack(PROTOCOL_VERSION) + self._nonce + self._replica_id.encode()

    def prove(self, challenge: Buffer) -> bytes:
        """Check the replica's answer and return the PROOF.

        Raises:
            AuthenticationError: Another version, or the replica does not know the secret.
        """
        if self._proved:
            raise AuthenticationError("the replica sent a second challenge")
        data = bytes(challenge)
        if len(data) != _VERSION.size + _NONCE_BYTES + _MAC_BYTES:
            raise AuthenticationError("the replica's challenge has the wrong size")
        _check_version(data)
        nonce, mac = data[2 : 2 + _NONCE_BYTES], data[2 + _NONCE_BYTES :]
        expected = _mac(self._secret, b"replica", self._replica_id, self._nonce, nonce)
        if not hmac.compare_digest(mac, expected):
            raise AuthenticationError(f"replica {self._replica_id} does not know our secret")
        self._proved = True
        return _mac(self._secret, b"caller", self._replica_id, self._nonce, nonce)

    def welcomed(self, message: Buffer) -> dict[str, Any]:
        """Return the facts of a WELCOME.

        Raises:
            AuthenticationError: The replica has not proved that it knows the secret.
        """
        if not self._proved:
            raise AuthenticationError(f"replica {self._replica_id} proved nothing")
        return read_welcome(message)


class ReplicaHandshake:
    """The replica's half."""

    def __init__(self, secret: bytes, replica_id: str) -> None:
        self._secret = secret
        self._replica_id = replica_id
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._greeted = False
        self._expected: bytes | None = None

    def challenge(self, hello: Buffer) -> bytes:
        """Return the CHALLENGE to a HELLO.

        Raises:
            AuthenticationError: Not alacarte, another version, meant for another replica, or
                not the first.
        """
        if self._greeted:
            raise AuthenticationError("the caller sent a second hello")
        self._greeted = True
        data = bytes(hello)
        if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + 2 + _NONCE_BYTES:
            raise AuthenticationError("the peer does not speak alacarte's protocol")
        data = data[len(_MAGIC) :]
        _check_version(data)
        caller, wanted = data[2 : 2 + _NONCE_BYTES], data[2 + _NONCE_BYTES :]
        if wanted != self._replica_id.encode():
            raise AuthenticationError("the caller looks for another replica")
        self._expected = _mac(self._secret, b"caller", self._replica_id, caller, self._nonce)
        mac = _mac(self._secret, b"replica", self._replica_id, caller, self._nonce)
        return _VERSION.pack(PROTOCOL_VERSION) + self._nonce + mac

    def accept(self, proof: Buffer) -> None:
        """Raise AuthenticationError unless the PROOF is right. There is no second try."""
        expected, self._expected = self._expected, None
        if expected is None or not hmac.compare_digest(bytes(proof), expected):
            raise AuthenticationError("the caller does not know our secret")


def _check_version(data: bytes) -> None:
    (version,) = _VERSION.unpack_from(data)
    if version != PROTOCOL_VERSION:
        raise AuthenticationError(
            f"the peer speaks version {version} of the protocol, this process {PROTOCOL_VERSION}: "
            "install the same alacarte-core everywhere"
        )


def welcome(facts: dict[str, Any]) -> bytes:
    """Return what a replica tells an authenticated caller about itself."""
    return json.dumps(facts).encode()


def read_welcome(message: Buffer) -> dict[str, Any]:
    """Return the facts in a WELCOME.

    Raises:
        AuthenticationError: There are none.
    """
    try:
        facts = json.loads(bytes(message))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise AuthenticationError("the replica's welcome cannot be read")
    return facts
