from __future__ import annotations

import argparse
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError, NotFoundError, ServeError
from alacarte_endpoints import Client
from alacarte_endpoints.commands import command


@serve.deployment
def answer() -> None: ...


@pytest.fixture
def apps(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(serve), "attach", lambda address: True)
    serve.run(answer.bind(), name="stable", route_prefix="/")
    serve.run(answer.bind(), name="canary", route_prefix=None)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_intermixed_args(words))


def test_a_split_and_its_end(apps: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Each call prints the resulting split; a call without shares changes nothing."""
    assert run("/", "stable=0.9", "canary=0.1", "--shadow", "canary=0.5") == 0
    split = "/:\n  stable: 0.9\n  canary: 0.1\n  copies to canary: 0.5\n"
    assert capsys.readouterr().out == split
    assert run("/") == 0
    assert capsys.readouterr().out == split
    assert run("/", "--shadow", "canary=0") == 0
    assert capsys.readouterr().out == "/:\n  stable: 0.9\n  canary: 0.1\n"
    assert run("/", "--delete") == 0
    assert capsys.readouterr().out == "/:\n  stable: 1\n"


@pytest.mark.parametrize("word", ["canary", "=1", "canary=", "canary=much"])
def test_a_share_that_is_none(word: str) -> None:
    """The error shows a valid share."""
    with pytest.raises(ConfigError, match="must be an application and its share"):
        run("/", word)


def test_either_shares_or_an_end() -> None:
    """`--delete` with shares is refused."""
    with pytest.raises(ConfigError, match="--delete takes no shares"):
        run("/", "canary=1", "--delete")


def test_an_unknown_route(apps: None) -> None:
    """The error lists the existing routes."""
    with pytest.raises(NotFoundError, match="route '/x' does not exist; existing routes: /."):
        run("/x")


def test_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an instance the command fails, and starts none."""
    asked: list[Any] = []
    monkeypatch.setitem(vars(serve), "attach", lambda address: bool(asked.append(address)))
    with pytest.raises(ServeError, match="nothing is running"):
        run("/", "--address", "head:6379")
    assert asked == ["head:6379"]
