"""Secrets lie in the memory of the instance's processes, and nowhere else."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

_CHILD_S = 240


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str, str]:
    """A private key with a password: its path, that of its certificate, and the password."""
    password = f"CANARY-{secrets.token_hex(8)}"
    paths = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", paths[0], "-out", paths[1])
    subprocess.run(
        [*command, *names, *files, "-passout", f"pass:{password}"], check=True, capture_output=True
    )
    return *paths, password


def test_no_secret_is_in_what_ray_writes(private_tmp: Path, key: tuple[str, str, str]):
    """Neither in its control store's files nor in its logs; and the instance goes on all the same.

    A new controller learns the secret and the key's password from the processes that live. So the
    search can find what is there, it finds the name of an application.
    """
    directory = private_tmp / "secrets"
    directory.mkdir()
    child = subprocess.run(
        [sys.executable, "-m", "tests.integration.persistent", str(directory), *key[:2]],
        input=key[2],
        capture_output=True,
        text=True,
        timeout=_CHILD_S,
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["with_name"] != []
    assert found["with_secret"] == []
    assert found["with_secret_in_hex"] == []
    assert found["with_password"] == []
    assert key[2] not in child.stderr
    assert found["after"] == found["before"], "the replica stayed"
    assert found["second"] != found["before"]
