from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alacarte.errors import ConfigError, DeployError, DeployTimeoutError
from alacarte_cli.commands.run import RunCommand
from alacarte_cli.main import main
from alacarte_cli.script import Environment
from alacarte_cli.stop import Stopped

Write = Callable[..., Path]
Start = Callable[..., int]


class Signals:
    """Signals that send Ctrl-C as soon as the program waits, and note their calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.comes = True

    def arm(self) -> None:
        self.asked.append("arm")

    def wait(self, ended: Callable[[float], bool]) -> None:
        if self.comes:
            raise Stopped(signal.SIGINT)
        assert ended(1.0)

    def defer(self) -> None:
        self.asked.append("defer")

    def restore(self) -> None:
        self.asked.append("restore")


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on stderr, from the error on."""
    lines = capsys.readouterr().err.splitlines()
    [first] = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return lines[first:]


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.fixture
def start(
    serve: Any,
    signals: Signals,
    plugins: Any,
    module: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Type `alacarte run <words> --app-dir <where a module run_app with an app is>`."""
    app_dir = module("run_app", "app = None\ndef build(arguments):\n    return app")
    sys.path.insert(0, str(app_dir))
    import run_app  # type: ignore[import-not-found]

    run_app.app = serve.Application()
    serve.running = False
    monkeypatch.setattr(serve, "attach", lambda address=None: serve.running)
    command: Any = RunCommand(
        lambda: serve,
        lambda: signals,  # type: ignore[arg-type, return-value]
        lambda: lambda timeout_s: True,
        lambda: Environment(sys.executable, app_dir, str(app_dir)),
    )
    monkeypatch.setattr("alacarte_cli.commands.run.command", command)

    def run(*words: str) -> int:
        return main(["run", "-d", str(app_dir), *words], lambda: plugins)

    return run


def test_it_serves_until_interrupted(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command starts, runs, prints the URL, and after Ctrl-C shuts down and returns 0."""
    assert start("run_app:app") == 0
    plain = {"cluster": None, "address": None, "http_options": None, "foreground": True}
    assert serve.calls[0] == ("start", plain)
    assert serve.called == ["start", "run", "shutdown"]
    assert capsys.readouterr().out == "default is running at http://127.0.0.1:8000/\n"


def test_only_set_options_are_passed_on(start: Start, serve: Any) -> None:
    """Only the options in the arguments are passed to the facade."""
    start("run_app:app", "--port", "9000", "--name", "shop", "--route-prefix", "/shop")
    (_, started), (_, ran), _ = serve.calls
    assert started["http_options"] == {"port": 9000}
    assert (ran["name"], ran["route_prefix"]) == ("shop", "/shop")
    serve.calls.clear()
    start("run_app:app", "--host", "0.0.0.0", "--insecure", "-a", "ray:1")
    assert serve.calls[0][1] == {
        "cluster": None,
        "address": "ray:1",
        "http_options": {"host": "0.0.0.0", "insecure": True},
        "foreground": True,
    }
    assert "route_prefix" not in serve.calls[1][1]


def test_local_asks_for_the_local_cluster(start: Start, serve: Any) -> None:
    """`--local` is `cluster="local"`."""
    start("run_app:app", "--local")
    assert serve.calls[0][1]["cluster"] == "local"


def test_arguments_reach_the_builder_wherever_they_stand(start: Start, serve: Any) -> None:
    """`key=value` words may follow options."""
    assert start("run_app:build", "a=1", "--name", "x", "b=2") == 0
    assert isinstance(serve.calls[1][1]["target"], serve.Application)


def test_without_http_it_says_so(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a proxy or a route, no URL is printed."""
    serve.proxies = {}
    start("run_app:app")
    assert capsys.readouterr().out == "default is running, without HTTP.\n"


def test_what_ran_before_goes_on(start: Start, serve: Any) -> None:
    """On a running instance, only the application is deleted at the end."""
    serve.running = True
    assert start("run_app:app", "--name", "shop") == 0
    assert serve.called == ["start", "run", "delete"]
    assert not serve.calls[0][1]["foreground"]
    assert serve.calls[-1][1] == {"name": "shop"}


def test_non_blocking_leaves_it_running(start: Start, serve: Any) -> None:
    """`--non-blocking` returns once the application runs, and shuts nothing down."""
    assert start("run_app:app", "--non-blocking") == 0
    assert serve.called == ["start", "run"]
    assert not serve.calls[0][1]["foreground"]  # nobody watches


def test_an_instance_that_ends_elsewhere(
    start: Start, serve: Any, signals: Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """When another process ends the instance, the command prints that and exits with 0."""
    signals.comes = False
    assert start("run_app:app") == 0
    assert serve.called == ["start", "run"]
    assert "the instance was shut down by another process" in capsys.readouterr().err


def test_a_limit_of_time(start: Start, serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """After `--timeout` the application is shut down; the error has the reason for the wait."""
    waiting = {"default#Model": "0 of 1 ready, waits for 1 GPU"}
    cause = "Deployment 'default#Model' asks for 1 GPU; the cluster has 0 in all."
    serve.fails["run"] = DeployTimeoutError(("default",), 2.5, waiting, (cause,))
    assert start("run_app:app", "--timeout", "2.5") == 1
    assert serve.calls[1][1]["timeout_s"] == 2.5
    assert serve.called[-1] == "shutdown"
    assert errors(capsys) == [
        "error: default did not run within 2.5 s (--timeout), and was shut down.",
        "default#Model: 0 of 1 ready, waits for 1 GPU",
        cause,
    ]


def test_nothing_to_run(start: Start, serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an import path, the command shows an example and exits with 2."""
    assert start() == 2
    assert "`alacarte run greeter:app` runs `app` of greeter.py" in capsys.readouterr().err
    assert serve.calls == []


def test_a_file_is_as_good_as_a_module(start: Start, serve: Any) -> None:
    """`path/to/file.py:app`, and the same without `.py`."""
    for path in ("run_app.py:app", "./run_app:app"):
        serve.calls.clear()
        assert start(path) == 0
        assert isinstance(serve.calls[1][1]["target"], serve.Application)


def test_rays_script_is_noted(
    start: Start, module: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the shell's `serve` is Ray's, a note has the remedy."""
    script = module("other") / "serve"
    script.write_text("from ray.serve.scripts import cli")
    script.chmod(0o755)
    start("run_app:app")
    [note] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert note == (
        f"note: `serve` on your PATH is Ray's ({script}); use `alacarte`, or run `alacarte doctor "
        "--fix` to replace it."
    )


def test_ready_is_said_once(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints that the application runs, and `serve.run` does not log it."""
    start("run_app:app")
    assert not logging.getLogger("alacarte.serve").isEnabledFor(logging.INFO)
    assert capsys.readouterr().out.count("running at") == 1


def test_signals_are_taken_back_from_ray(start: Start, signals: Signals) -> None:
    """Signals are armed before and after the start, deferred for the shutdown, then restored."""
    start("run_app:app")
    assert signals.asked == ["arm", "arm", "defer", "restore"]


@pytest.mark.parametrize("options", [["--non-blocking"], []])
@pytest.mark.parametrize("step", ["start", "run"])
def test_a_failure_leaves_nothing_running(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str], step: str, options: list[str]
) -> None:
    """When any step fails, the command shuts down, prints the reason, and exits with 1."""
    serve.fails[step] = DeployError("app.py:3 in __init__: ValueError: no weights")
    assert start("run_app:app", *options) == 1
    assert serve.called[-1] == "shutdown"
    assert errors(capsys) == ["error: app.py:3 in __init__: ValueError: no weights"]


@pytest.mark.parametrize("step", ["start", "run"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_start_leaves_nothing_running(
    start: Start, serve: Any, step: str, number: int, code: int
) -> None:
    """A signal before the first answer shuts down, and exits with the signal's code."""
    serve.fails[step] = Stopped(number)
    assert start("run_app:app") == code
    assert serve.called[-1] == "shutdown"


def test_a_failing_shutdown_does_not_hide_the_first_error(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error of a failed start comes first; the error of its shutdown is a note."""
    serve.fails["run"] = DeployError("port 8000 is in use")
    serve.fails["shutdown"] = RuntimeError("no controller")
    assert start("run_app:app") == 1
    assert errors(capsys) == [
        "error: port 8000 is in use",
        "note: the shutdown failed, too: no controller",
    ]


def test_a_failing_shutdown_after_serving_is_an_error(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the shutdown is printed, since processes may still run."""
    serve.fails["shutdown"] = ConfigError("no controller")
    assert start("run_app:app") == 1
    assert "error: no controller" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run_ap:app"], "no module 'run_ap'"),
        (["run_app:ap"], "has no attribute 'ap'; did you mean 'app'?"),
        (["run_app:app", "oops"], "'oops' is not of the form key=value"),
        (["run_app:app", "a=1"], "takes no arguments"),
        (["run_app:__name__"], "is of type str"),
        (["run_app:app", "--local", "-a", "x"], "remove --address"),
        (["run_app:app", "--local", "--non-blocking"], "remove --non-blocking"),
        (["run_app:app", "-d", "/nowhere"], "is not a directory"),
        (["run_app:app", "--timeout", "0"], "must be greater than 0"),
        (["nowhere/app:app"], "does not exist"),
        (["run_app.py"], "write run_app.py:app"),
    ],
)
def test_what_is_wrong_beforehand_starts_nothing(
    start: Start, serve: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """Invalid arguments exit with 1 and the reason, before anything starts."""
    assert start(*words) == 1
    assert message in capsys.readouterr().err
    assert serve.calls == []


def test_a_module_that_fails_shows_its_own_line(
    start: Start, serve: Any, module: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the user's module is shown with file, line and source."""
    module("broken_app", "import json\njson.loads('')")
    assert start("broken_app:app") == 1
    reason, where, source = errors(capsys)
    assert reason.startswith("error: JSONDecodeError: Expecting value")
    assert where.endswith("broken_app.py:2")
    assert source == "    json.loads('')"


PROGRAM = """
import argparse, sys, threading
from types import ModuleType, SimpleNamespace
from alacarte.status import ServeStatus
from alacarte_cli.commands.run import RunCommand

class Application: ...

def say(word):
    print(word, flush=True)
    if word == sys.argv[1]:
        threading.Event().wait()

serve = SimpleNamespace(
    Application=Application,
    Deployment=type(None),
    attach=lambda address: False,
    start=lambda **given: say("start"),
    run=lambda app, **given: say("run"),
    status=lambda: ServeStatus({}, {}),
    shutdown=lambda: say("shutdown"),
)
sys.modules["served"] = ModuleType("served")
sys.modules["served"].app = Application()
command = RunCommand(lambda: serve, get_waiter=lambda: threading.Event().wait)
parser = argparse.ArgumentParser()
command.arguments(parser)
sys.exit(command.run(parser.parse_args(["served:app"])))
"""
"""A program like `alacarte run served:app`, with a facade one of whose calls never returns."""


@contextmanager
def running(stuck_in: str = "") -> Iterator[subprocess.Popen[str]]:
    """A real process that runs the command with a facade one of whose calls never returns."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, stuck_in],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(wanted):
            return
    raise AssertionError(f"{wanted!r} was never printed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_serving_ends_well(number: int) -> None:
    """A real signal to a real process: it shuts down and exits with 0."""
    with running() as process:
        read_until(process, "default is running")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("shutdown\n", 0)
    assert "Traceback" not in err


@pytest.mark.parametrize("step", ["start", "run"])
def test_a_signal_while_starting_shuts_down(step: str) -> None:
    """A start that hangs can be interrupted, and what it had started is shut down."""
    with running(stuck_in=step) as process:
        read_until(process, step)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert out.endswith("shutdown\n")
    assert process.returncode == 130


def test_a_second_signal_ends_a_shutdown_that_hangs() -> None:
    """Ctrl-C twice always ends the program."""
    with running(stuck_in="shutdown") as process:
        read_until(process, "default is running")
        process.send_signal(signal.SIGINT)
        read_until(process, "shutdown")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
