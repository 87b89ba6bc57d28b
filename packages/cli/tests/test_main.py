from __future__ import annotations

import argparse
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from alacarte._plugins import load
from alacarte.errors import PluginError
from alacarte.types import Command
from alacarte_cli.main import main

HEAVY = ("ray", "pydantic", "starlette", "uvicorn", "fastapi", "alacarte_cli.commands.run")


class Greet:
    """A plugin's command that is hard to parse: options between positional arguments."""

    def __init__(self) -> None:
        self.seen: list[argparse.Namespace] = []

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("words", nargs="*")
        parser.add_argument("--loud", action="store_true")

    def run(self, options: argparse.Namespace) -> int:
        self.seen.append(options)
        if options.name == "nobody":
            raise RuntimeError("there is nobody")
        if options.name == "interrupted":
            raise KeyboardInterrupt
        return 5


@pytest.fixture
def greet(monkeypatch: pytest.MonkeyPatch) -> Greet:
    command = Greet()
    stranger = ModuleType("stranger")
    stranger.greet = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stranger", stranger)
    return command


def test_a_strangers_command_is_run_like_ours(plugins: Any, greet: Greet) -> None:
    """A plugin's command sets the exit code, and takes options between positional arguments."""
    assert main(["greet", "you", "--loud", "a=1", "b"], lambda: plugins) == 5
    [options] = greet.seen
    assert (options.name, options.words, options.loud) == ("you", ["a=1", "b"], True)
    assert options.plugins is plugins


def test_a_command_may_have_subcommands(
    plugins: Any, greet: Greet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser that cannot take mixed arguments works without mixing."""

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_subparsers(dest="name").add_parser("deep").add_argument("--loud")

    monkeypatch.setattr(greet, "arguments", arguments)
    assert main(["greet", "deep", "--loud", "yes"], lambda: plugins) == 5
    assert greet.seen[0].loud == "yes"


def test_a_command_may_have_a_traceback_option_of_its_own(
    plugins: Any, greet: Greet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command's own `--traceback` replaces the common one."""

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--traceback", dest="name", default="x")

    monkeypatch.setattr(greet, "arguments", arguments)
    assert main(["greet", "--traceback", "deep"], lambda: plugins) == 5
    assert greet.seen[0].name == "deep"


def test_help_lists_every_command(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists all commands, even those whose modules do not exist."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"], lambda: plugins)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name in plugins.commands:
        assert f"\n  {name} " in out
    assert "Say hello." in out


def test_no_command_is_wrong_usage(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the program prints the help on stderr."""
    assert main([], lambda: plugins) == 2
    assert "commands:" in capsys.readouterr().err


def test_an_unknown_command_names_a_near_one(
    plugins: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, as for any wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main(["statsu"], lambda: plugins)
    assert ended.value.code == 2
    assert "no command 'statsu'; did you mean 'status'?" in capsys.readouterr().err


def test_an_exception_is_printed_in_one_line(
    plugins: Any, greet: Greet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the reason, no traceback."""
    assert main(["greet", "nobody"], lambda: plugins) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: RuntimeError: there is nobody\n")
    assert "Traceback" not in err


def test_traceback_tells_all(
    plugins: Any, greet: Greet, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--traceback` works on every command."""
    assert main(["greet", "nobody", "--traceback"], lambda: plugins) == 1
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


def test_an_interrupt_is_no_error(
    plugins: Any, greet: Greet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in any command exits with 130 and prints nothing."""
    assert main(["greet", "interrupted"], lambda: plugins) == 130
    assert capsys.readouterr().err == ""


def test_a_command_that_cannot_be_loaded_is_named(
    plugins: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for a command whose target cannot be loaded names both."""
    plugins.commands["greet"] = Command("greet", "Say hello.", "no_such_module:greet")
    assert main(["greet", "you"], lambda: plugins) == 1
    expected = "command greet: no_such_module:greet cannot be loaded: No module"
    assert expected in capsys.readouterr().err


def test_conflicting_plugins_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """An error while loading plugins is printed like any other."""

    def load() -> Any:
        raise PluginError("both a and b provide 'run'")

    assert main(["run"], load) == 1
    assert capsys.readouterr().err.startswith("error: both a and b provide 'run'\n")


def test_the_program_goes_by_the_name_it_was_called(
    plugins: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help shows the name of the program that was typed, `serve` or `alacarte`."""
    for typed, shown in (("/x/alacarte", "alacarte"), ("/x/serve", "serve"), ("-c", "alacarte")):
        monkeypatch.setattr(sys, "argv", [typed])
        main([], lambda: plugins)
        assert capsys.readouterr().err.startswith(f"usage: {shown} ")


def test_help_imports_nothing_heavy() -> None:
    """`alacarte --help`, with the plugins that are installed, starts fast."""
    program = (
        "import json, sys\n"
        "from alacarte_cli.main import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        f"    print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "  doctor " in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_it_runs_as_a_module() -> None:
    """`python -m alacarte_cli` is the program, whichever program `serve` is."""
    done = subprocess.run(
        [sys.executable, "-m", "alacarte_cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("alacarte-cli ")


def test_plugins_that_clash_over_a_command_are_shown(
    plugins: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where plugins clash, `alacarte plugins` runs and names them; other commands fail."""

    class Clashing:
        records = plugins.records
        specifications: dict[str, Any] = {}  # noqa: RUF012

        @property
        def commands(self) -> Any:
            raise PluginError("both a and b provide 'greet'")

        def examine(self) -> Any:
            return self.records

    clashing: Any = Clashing()
    assert main(["plugins"], lambda: clashing) == 1
    assert "odd is failed" in capsys.readouterr().out
    assert main(["status"], lambda: clashing) == 1
    assert "both a and b provide 'greet'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["core", "cli"])
def test_plugins_of_one_name_are_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alacarte plugins` lists plugins of the same name, even its own."""
    monkeypatch.setenv("ALACARTE_PLUGINS", name)  # a module of that name, beside our plugin
    assert main(["plugins"], load) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    ours = f"alacarte-{name}"
    assert {(row[2], row[3]) for row in rows if row and row[0] == name and len(row) == 5} == {
        (name, "failed"),
        (ours, "failed"),
    }
    assert main(["status"], load) == 1
    assert f"2 plugins are named '{name}': {ours} and {name}" in capsys.readouterr().err
