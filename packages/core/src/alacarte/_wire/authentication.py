"""The handshake of caller and replica: a mutual challenge before any other frame is interpreted.

    caller                                replica
    HELLO      version, replica, nonce →
               ← CHALLENGE version, nonce, mac("replica", …)
    PROOF      mac("caller", …)        →
               ← WELCOME   metadata

Each mac is HMAC-SHA256 with the instance's secret over the role, both nonces, the replica's id and
the protocol version, so a proof can neither be reflected, replayed nor used at another replica.
Processes pass the secret in calls and keep the secret in memory: never on a command line, in the
environment or on disk. Sans-IO: bytes in, bytes out.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from struct import Struct

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
    """The peer failed the handshake, or speaks another version of the protocol."""


def _mac(secret: bytes, role: bytes, replica: str, caller: bytes, replier: bytes) -> bytes:
    transcript = b"\0".join((_MAGIC, role, _VERSION.pack(PROTOCOL_VERSION), replica.encode()))
    return hmac.digest(secret, transcript + b"\0" + caller + replier, "sha256")


class CallerHandshake:
    """The caller's half of the handshake."""

    def __init__(self, secret: bytes, replica_id: str) -> None:
        self._secret = secret
        self._replica_id = replica_id
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._proved = False

    def hello(self) -> bytes:
        """Return the first message: protocol version, nonce and the expected replica."""
        return _MAGIC + _VERSION.pack(PROTOCOL_VERSION) + self._nonce + self._replica_id.encode()

    def prove(self, challenge: Buffer) -> bytes:
        """Check the replica's CHALLENGE and return the PROOF.

        Raises:
            AuthenticationError: The replica speaks another version or does not know the secret.
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

    def read_welcome(self, message: Buffer) -> Mapping[str, object]:
        """Return the metadata in the replica's WELCOME.

        Raises:
            AuthenticationError: The replica has not proved that it knows the secret, or the
                WELCOME is malformed.
        """
        if not self._proved:
            raise AuthenticationError(f"replica {self._replica_id} has not proved its identity")
        return read_welcome(message)


class ReplicaHandshake:
    """The replica's half of the handshake."""

    def __init__(self, secret: bytes, replica_id: str) -> None:
        self._secret = secret
        self._replica_id = replica_id
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._challenged = False
        self._expected: bytes | None = None

    def challenge(self, hello: Buffer) -> bytes:
        """Return the CHALLENGE to a HELLO.

        Raises:
            AuthenticationError: The HELLO is not of alacarte's protocol or version, names another
                replica, or is not the first one.
        """
        if self._challenged:
            raise AuthenticationError("the caller sent a second hello")
        self._challenged = True
        data = bytes(hello)
        if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + 2 + _NONCE_BYTES:
            raise AuthenticationError("the peer does not speak alacarte's protocol")
        data = data[len(_MAGIC) :]
        _check_version(data)
        caller, replica_id = data[2 : 2 + _NONCE_BYTES], data[2 + _NONCE_BYTES :]
        if replica_id != self._replica_id.encode():
            raise AuthenticationError("the caller asks for another replica")
        self._expected = _mac(self._secret, b"caller", self._replica_id, caller, self._nonce)
        mac = _mac(self._secret, b"replica", self._replica_id, caller, self._nonce)
        return _VERSION.pack(PROTOCOL_VERSION) + self._nonce + mac

    def accept(self, proof: Buffer) -> None:
        """Check the caller's PROOF.

        Raises:
            AuthenticationError: The proof is wrong, or not the first one.
        """
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


def welcome(metadata: Mapping[str, object]) -> bytes:
    """Return the WELCOME with a replica's metadata, for an authenticated caller."""
    return json.dumps(dict(metadata)).encode()


def read_welcome(message: Buffer) -> Mapping[str, object]:
    """Return the metadata in a WELCOME.

    Raises:
        AuthenticationError: The message holds no metadata.
    """
    try:
        metadata = json.loads(bytes(message))
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise AuthenticationError("the replica's welcome cannot be read")
    return metadata
