"""The user of the peer of a Unix socket."""

from __future__ import annotations

import os
import socket

import pytest

from alacarte.unix_peers import is_same_user


def test_our_own_process_is_the_same_user(monkeypatch: pytest.MonkeyPatch):
    """The peer of a socket pair is this user, and is not after this user changes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert is_same_user(ours)
        if hasattr(socket, "SO_PEERCRED"):
            user = os.getuid()
            monkeypatch.setattr(os, "getuid", lambda: user + 1)
            assert not is_same_user(ours)
