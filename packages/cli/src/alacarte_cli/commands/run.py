"""`alacarte run`: run the application at an import path until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from alacarte.errors import ConfigError, DeployTimeoutError, ServeError
from alacarte.status import ServeStatus
from alacarte_cli.builder import parse_pairs, resolve_application
from alacarte_cli.facade import Facade, GetFacade, GetWaiter, facade, waiter
from alacarte_cli.import_path import ImportPath
from alacarte_cli.progress import Progress, open_progress
from alacarte_cli.script import Environment, foreign_script
from alacarte_cli.stop import Stopped, StopSignals

__all__ = ["RunCommand", "command"]

_NOTHING_TO_RUN = """\
error: name an application as module:app. `alacarte run greeter:app` runs `app` of greeter.py in
this directory, where app = Greeter.bind(). See `alacarte run --help`."""
_EPILOG = """\
In the foreground, each request prints a line; ALACARTE_HTTP__ACCESS_LOG=off turns this access log
off. Environment variables of that form set the other options of an instance, too."""


class RunCommand:
    """The command that runs an application, prints its URL, and shuts it down at the end.

    Args:
        get_facade: Returns `alacarte.serve`.
        signals: Makes the handler of Ctrl-C and SIGTERM.
        get_waiter: Returns the function that waits for the end of the instance.
        environment: Returns the installation, and the programs that a shell finds.
    """

    def __init__(
        self,
        get_facade: GetFacade = facade,
        signals: Callable[[], StopSignals] = StopSignals,
        get_waiter: GetWaiter = waiter,
        environment: Callable[[], Environment] = Environment.current,
    ) -> None:
        self._get_facade = get_facade
        self._signals = signals
        self._get_waiter = get_waiter
        self._environment = environment

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the application, its options and the addresses."""
        parser.epilog = _EPILOG
        add = parser.add_argument
        add(
            "import_path",
            metavar="module:app",
            nargs="?",
            help="an application, or a function that builds one; also path/to/module.py:app",
        )
        add("pairs", nargs="*", metavar="key=value", help="arguments of that function")
        add("-d", "--app-dir", default=".", type=Path, help="directory of the module (default: .)")
        add("--name", default="default", help="name of the application (default: %(default)s)")
        add("--route-prefix", metavar="PREFIX", help="URL prefix (default: /)")
        add("-a", "--address", help="the Ray cluster to use (default: RAY_ADDRESS, or a new one)")
        add("--local", action="store_true", help="serve in this process, without Ray")
        add("--host", help="address to listen on (default: 127.0.0.1)")
        add("--port", type=int, help="port to listen on (default: 8000)")
        add("--insecure", action="store_true", help="allow a --host that other machines reach")
        add("--timeout", type=float, metavar="SECONDS", help="time limit for the start")
        add("--blocking", dest="blocking", action="store_true", help="run until Ctrl-C (default)")
        add("--non-blocking", dest="blocking", action="store_false", help="return when it is ready")
        parser.set_defaults(blocking=True)

    def run(self, options: argparse.Namespace) -> int:
        """Serve until stopped; return 0, or 128 + signal when stopped before the first answer.

        Imports the application before anything starts. At the end, or when the start fails, shuts
        the instance down; an instance that was running already only loses the application. With
        `--non-blocking` the instance keeps running. When another process ends the instance, the
        command prints that, and returns 0.
        """
        if options.import_path is None:
            print(_NOTHING_TO_RUN, file=sys.stderr)
            return 2
        _check(options)
        arguments = parse_pairs(options.pairs)
        import_path, app_dir = ImportPath.locate(options.import_path, options.app_dir.resolve())
        target = import_path.load(app_dir)
        serve = self._get_facade()
        # This command prints the URL itself, so `serve.run` need not log it.
        logging.getLogger("alacarte.serve").setLevel(logging.WARNING)
        app = resolve_application(target, arguments, serve, import_path)
        note = foreign_script(self._environment())
        if note:
            print(note, file=sys.stderr)
        stop = self._signals()
        stop.arm()
        try:
            return _Run(serve, app, options, stop, self._get_waiter).serve()
        finally:
            stop.restore()


def _check(options: argparse.Namespace) -> None:
    if options.local and options.address:
        raise ConfigError("--local runs without Ray; remove --address.")
    if options.local and not options.blocking:
        raise ConfigError("--local serves in this process, which must stay; remove --non-blocking.")
    if options.timeout is not None and not options.timeout > 0:
        raise ConfigError(f"--timeout {options.timeout:g} must be greater than 0.")
    if not options.app_dir.is_dir():
        raise ConfigError(f"--app-dir {options.app_dir} is not a directory.")


class _Run:
    """The run of one application, from its start to its end."""

    def __init__(
        self,
        serve: Facade,
        app: object,
        options: argparse.Namespace,
        stop: StopSignals,
        get_waiter: GetWaiter,
    ) -> None:
        self._serve = serve
        self._app = app
        self._options = options
        self._stop = stop
        self._get_waiter = get_waiter
        self._joined = False
        self._answering = False

    def serve(self) -> int:
        try:
            # A signal may arrive at any line. Only in a `finally` of its own, `defer` surely runs
            # before the shutdown, which then no signal interrupts.
            try:
                with open_progress(self._options.name) as progress:
                    self._bring_up(progress)
                self._answering = True
                print(_ready(self._serve.status(), self._options.name), flush=True)
                if not self._options.blocking:
                    return 0
                print("Ctrl-C to stop.", file=sys.stderr, flush=True)
                self._stop.wait(self._get_waiter())
            finally:
                self._stop.defer()
        except Stopped as stopped:
            self._end()
            return 0 if self._answering else 128 + stopped.number
        except BaseException as error:
            _end_after(error, self._end)
            raise
        print("the instance was shut down by another process.", file=sys.stderr)
        return 0

    def _bring_up(self, progress: Progress) -> None:
        options = self._options
        if not options.local:
            # An instance that another program has started keeps running at the end.
            progress.step("looking for a Ray cluster")
            self._joined = self._serve.attach(options.address)
        progress.step("starting" if options.local or self._joined else "starting Ray and alacarte")
        self._serve.start(
            cluster="local" if options.local else None,
            address=options.address,
            http_options=_http_options(options) or None,
            foreground=options.blocking and not self._joined,
        )
        self._stop.arm()  # ray.init installs a handler of its own for SIGTERM
        progress.step(f"starting {options.name}", self._serve.status)
        # Without the option, the default of `serve.run` applies, which depends on alacarte-http.
        route = {} if options.route_prefix is None else {"route_prefix": options.route_prefix}
        try:
            self._serve.run(self._app, name=options.name, timeout_s=options.timeout, **route)
        except DeployTimeoutError as late:
            head = (
                f"{options.name} did not run within {options.timeout:g} s (--timeout), and was "
                "shut down."
            )
            waiting = [f"{deployment}: {text}" for deployment, text in late.waiting.items()]
            raise ServeError("\n".join([head, *waiting, *late.causes])) from None

    def _end(self) -> None:
        if self._joined:
            self._serve.delete(self._options.name)
        else:
            self._serve.shutdown()


def _http_options(options: argparse.Namespace) -> dict[str, object]:
    http = {"host": options.host, "port": options.port, "insecure": options.insecure or None}
    return {name: value for name, value in http.items() if value is not None}


def _ready(status: ServeStatus, name: str) -> str:
    app = status.applications.get(name)
    prefix = None if app is None else app.route_prefix
    if prefix is None or not status.urls:
        return f"{name} is running, without HTTP."
    line = f"{name} is running at {', '.join(url + prefix for url in status.urls)}"
    route = status.routes.get(prefix)
    if route is None or name in route.targets:
        return line
    others = " and ".join(map(repr, route.targets))
    return f"{line}, but another route overrides its own: requests go to {others}"


def _end_after(error: BaseException, end: Callable[[], None]) -> None:
    try:
        end()
    except Exception as second:  # the user must see the first error
        error.add_note(f"the shutdown failed, too: {second}")


command = RunCommand()
