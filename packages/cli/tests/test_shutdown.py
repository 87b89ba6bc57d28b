from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

from alacarte_cli.commands.shutdown import ShutdownCommand


def answers(text: str | BaseException) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        print(prompt)
        if isinstance(text, BaseException):
            raise text
        return text

    return ask


def never(prompt: str) -> str:
    raise AssertionError("asked without need")


def options(**given: Any) -> Namespace:
    return Namespace(**{"address": None, "yes": False, "force": False, **given})


def test_nothing_running_is_fine(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an instance, the command prints that and exits with 0, without a question."""
    serve.running = False
    assert ShutdownCommand(lambda: serve, never).run(options()) == 0
    assert capsys.readouterr().out == "nothing is running.\n"
    assert serve.called == ["attach"]


def test_yes_needs_no_answer(serve: Any) -> None:
    """With `-y` there is no question."""
    assert ShutdownCommand(lambda: serve, never).run(options(yes=True)) == 0
    assert serve.called == ["attach", "shutdown"]


def test_the_question_names_the_applications(
    serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question names the applications, and the answer yes shuts them down."""
    assert ShutdownCommand(lambda: serve, answers("Y ")).run(options()) == 0
    assert "Shut down default and all" in capsys.readouterr().out
    assert serve.called == ["attach", "shutdown"]


@pytest.mark.parametrize("answer", ["", "n", "what?", EOFError()])
def test_anything_but_yes_leaves_it_running(serve: Any, answer: str | BaseException) -> None:
    """Any other answer, or no terminal, exits with 1 and shuts nothing down."""
    assert ShutdownCommand(lambda: serve, answers(answer)).run(options()) == 1
    assert serve.called == ["attach"]


def test_force_asks_the_instance_nothing(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--force` makes no call to the instance, which may not answer."""
    command = ShutdownCommand(lambda: serve, answers("y"))
    assert command.run(options(force=True, address="host:1")) == 0
    assert "Kill all processes of alacarte on host:1? [y/N]" in capsys.readouterr().out
    assert serve.calls == [("shutdown", {"force": True, "address": "host:1"})]


def test_force_needs_a_yes_as_well(serve: Any) -> None:
    """`--force` asks a question, too, unless `-y` is passed."""
    assert ShutdownCommand(lambda: serve, answers("n")).run(options(force=True)) == 1
    assert serve.calls == []
    assert ShutdownCommand(lambda: serve, never).run(options(force=True, yes=True)) == 0
    assert serve.called == ["shutdown"]
