"""The handshake: only a peer that knows the secret gets in, at this replica and now."""

import ast
import hmac
import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._wire import authentication
from alacarte._wire.authentication import (
    AuthenticationError,
    CallerHandshake,
    ReplicaHandshake,
    read_welcome,
    welcome,
)

SECRET, OTHER = b"s" * 32, b"o" * 32


def pair(replica_id="r1"):
    return CallerHandshake(SECRET, replica_id), ReplicaHandshake(SECRET, replica_id)


def test_both_know_the_secret():
    """Caller and replica authenticate each other, and the caller gets the replica's metadata."""
    caller, replica = pair()
    replica.accept(caller.prove(replica.challenge(caller.hello())))
    assert caller.read_welcome(welcome({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(wrap):
    """Messages may be any of the buffer types of the decoder."""
    caller, replica = pair()
    replica.accept(wrap(caller.prove(wrap(replica.challenge(wrap(caller.hello()))))))
    assert caller.read_welcome(wrap(welcome({}))) == {}


def test_a_caller_with_another_secret():
    """The replica refuses a proof made with another secret."""
    caller, replica = CallerHandshake(OTHER, "r1"), ReplicaHandshake(SECRET, "r1")
    challenge = replica.challenge(caller.hello())
    with pytest.raises(AuthenticationError, match="replica r1 does not know our secret"):
        caller.prove(challenge)
    stubborn = hmac.digest(OTHER, challenge, "sha256")
    with pytest.raises(AuthenticationError, match="the caller does not know our secret"):
        replica.accept(stubborn)


def test_a_replica_with_another_secret():
    """The caller refuses a replica with another secret, and sends it no proof."""
    caller, replica = CallerHandshake(SECRET, "r1"), ReplicaHandshake(OTHER, "r1")
    with pytest.raises(AuthenticationError, match="does not know our secret"):
        caller.prove(replica.challenge(caller.hello()))


def test_no_welcome_without_a_challenge():
    """A replica that skips its proof is refused, whatever metadata it sends."""
    caller, _ = pair()
    caller.hello()
    with pytest.raises(AuthenticationError, match="has not proved its identity"):
        caller.read_welcome(welcome({}))


def test_no_welcome_after_a_wrong_challenge():
    """A replica whose proof was wrong is refused."""
    caller = CallerHandshake(SECRET, "r1")
    with pytest.raises(AuthenticationError):
        caller.prove(ReplicaHandshake(OTHER, "r1").challenge(caller.hello()))
    with pytest.raises(AuthenticationError):
        caller.read_welcome(welcome({}))


def test_reflection():
    """A caller's own messages, reflected, prove nothing; nor do a replica's."""
    caller, replica = pair()
    challenge = replica.challenge(caller.hello())
    mac = challenge[-32:]
    with pytest.raises(AuthenticationError):
        replica.accept(mac)
    proof = caller.prove(challenge)
    liar = challenge[:-32] + proof
    with pytest.raises(AuthenticationError):
        CallerHandshake(SECRET, "r1").prove(liar)


def test_a_recorded_proof():
    """Messages recorded on one connection authenticate no other."""
    caller, replica = pair()
    hello = caller.hello()
    challenge = replica.challenge(hello)
    proof = caller.prove(challenge)
    replica.accept(proof)
    again = ReplicaHandshake(SECRET, "r1")
    assert again.challenge(hello) != challenge
    with pytest.raises(AuthenticationError):
        again.accept(proof)


def test_a_recorded_challenge():
    """A replica cannot be played from a recording: each caller asks something new."""
    caller, replica = pair()
    challenge = replica.challenge(caller.hello())
    later = CallerHandshake(SECRET, "r1")
    assert later.hello() != caller.hello()
    with pytest.raises(AuthenticationError):
        later.prove(challenge)


def test_another_replica():
    """Proofs hold for one replica: a caller that asks for another gets an error."""
    caller, replica = CallerHandshake(SECRET, "r1"), ReplicaHandshake(SECRET, "r2")
    with pytest.raises(AuthenticationError, match="asks for another replica"):
        replica.challenge(caller.hello())


def test_another_replicas_challenge_and_proof():
    """The messages of one replica of the instance are invalid at another."""
    caller = CallerHandshake(SECRET, "r1")
    hello = caller.hello()
    other = ReplicaHandshake(SECRET, "r2")
    challenge = other.challenge(hello.replace(b"r1", b"r2"))
    with pytest.raises(AuthenticationError):
        caller.prove(challenge)
    towards = CallerHandshake(SECRET, "r2")
    replica = ReplicaHandshake(SECRET, "r1")
    replica.challenge(towards.hello().replace(b"r2", b"r1"))
    with pytest.raises(AuthenticationError):
        replica.accept(towards.prove(other.challenge(towards.hello())))


def test_another_version(monkeypatch):
    """The errors of both sides name both versions and the remedy."""
    caller, replica = pair()
    hello, challenge = caller.hello(), replica.challenge(caller.hello())
    monkeypatch.setattr(authentication, "PROTOCOL_VERSION", 2)
    for call in (
        lambda: ReplicaHandshake(SECRET, "r1").challenge(hello),
        lambda: caller.prove(challenge),
    ):
        with pytest.raises(
            AuthenticationError, match=r"version 1 .* this process 2.*alacarte-core"
        ):
            call()


def test_the_version_is_part_of_the_proof(monkeypatch):
    """An attacker in between cannot make both sides use an older version."""
    caller, replica = pair()
    challenge = replica.challenge(caller.hello())
    monkeypatch.setattr(authentication, "PROTOCOL_VERSION", 2)
    with pytest.raises(AuthenticationError, match="secret"):
        caller.prove(b"\x02\0" + challenge[2:])


def test_one_hello_and_one_proof():
    """A second HELLO or a second PROOF is refused."""
    caller, replica = pair()
    proof = caller.prove(replica.challenge(caller.hello()))
    with pytest.raises(AuthenticationError):
        replica.challenge(caller.hello())
    _, replica = pair()
    replica.challenge(caller.hello())
    with pytest.raises(AuthenticationError):
        replica.accept(bytes(32))
    with pytest.raises(AuthenticationError):
        replica.accept(proof)


def test_one_challenge():
    """A caller proves itself once on a connection."""
    caller, replica = pair()
    challenge = replica.challenge(caller.hello())
    caller.prove(challenge)
    with pytest.raises(AuthenticationError):
        caller.prove(challenge)


def test_a_proof_before_the_hello():
    """There is nothing to prove yet."""
    with pytest.raises(AuthenticationError):
        pair()[1].accept(bytes(32))


@settings(max_examples=150)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_refused(data, polite):
    """Any other bytes raise AuthenticationError."""
    data = b"alacarte\x01\0" + data if polite else data
    for listen in (
        ReplicaHandshake(SECRET, "r1").challenge,
        CallerHandshake(SECRET, "r1").prove,
        CallerHandshake(SECRET, "r1").read_welcome,
    ):
        with pytest.raises(AuthenticationError):
            listen(data)
    caller, replica = pair()
    replica.challenge(caller.hello())
    with pytest.raises(AuthenticationError):
        replica.accept(data)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 4000, b"[]", b"3"])
def test_a_welcome_that_is_none(data):
    """Facts that cannot be read are an AuthenticationError, too."""
    with pytest.raises(AuthenticationError):
        read_welcome(data)


@settings(max_examples=60)
@given(st.integers(0, 200), st.integers(0, 7))
def test_every_bit_counts(at, bit):
    """One changed bit anywhere in the handshake makes it fail."""
    caller, replica = pair()
    number = at % 3

    def passed(message, turn):
        if turn == number:
            message = bytearray(message)
            message[at % len(message)] ^= 1 << bit
        return message

    def talk():
        challenge = replica.challenge(passed(caller.hello(), 0))
        replica.accept(passed(caller.prove(passed(challenge, 1)), 2))

    with pytest.raises(AuthenticationError):
        talk()


def test_macs_are_compared_in_constant_time():
    """No `==` touches a mac: only `hmac.compare_digest` does."""
    tree = ast.parse(inspect.getsource(authentication))
    secret = {"mac", "proof", "expected", "_expected", "digest"}
    compared = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                for leaf in ast.walk(side):
                    if isinstance(leaf, ast.Call) and ast.unparse(leaf.func) == "len":
                        break
                    name = getattr(leaf, "id", getattr(leaf, "attr", ""))
                    if name in secret:
                        assert all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops), (
                            ast.unparse(node)
                        )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hmac.compare_digest":
            compared += 1
    assert compared == 2
