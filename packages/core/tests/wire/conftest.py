"""Fixtures that detect unpickling."""

import pickle
import sys

import pytest

unpickled: list[str] = []
"""The classes looked up by pickle while `listening`."""
listening = False


def _hear(event, arguments):
    if listening and event == "pickle.find_class":
        unpickled.append(f"{arguments[0]}.{arguments[1]}")


sys.addaudithook(_hear)


@pytest.fixture
def no_pickle():
    """Nothing may be unpickled during the test."""
    global listening
    unpickled.clear()
    listening = True
    yield
    listening = False
    assert unpickled == []


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


@pytest.fixture
def bomb(tmp_path):
    canary = tmp_path / "canary"
    yield pickle.dumps(Bomb(canary))
    assert not canary.exists()
