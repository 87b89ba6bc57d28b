"""`alacarte run`: an application from an import path, served until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alacarte.errors import ConfigError, DeployTimeoutError, ServeError
from alacarte.status import ServeStatus
from alacarte_cli.builder import application, keyed
from alacarte_cli.facade import Facade, GetFacade, GetWaiter, facade, waiter
from alacarte_cli.import_path import ImportPath
from alacarte_cli.progress import Progress, open_progress
from alacarte_cli.script import Environment, foreign_script
from alacarte_cli.stop import Stopped, StopSignals

__all__ = ["RunCommand", "command"]

_NOTHING_TO_RUN = """\
error: name an application, as module:app: `alacarte run greeter:app` runs `app` of greeter.py in
this directory, which is what .bind() returned. `alacarte run --help` shows more."""
_EPILOG = """\
Each request is shown in a line while the program stays; ALACARTE_HTTP__ACCESS_LOG=off turns that
off. Other options of an instance are read from the environment in the same way."""


class RunCommand:
    """Brings an application up, says where it listens, and takes everything down at the end.

    Args:
        get_facade: Gives `alacarte.serve`.
        signals: Makes what listens to Ctrl-C and SIGTERM.
        get_waiter: Gives what waits for the end of the instance.
        environment: Gives the installation, and what a shell finds of it.
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
        """Declare what to run, where to find it and where to listen."""
        parser.epilog = _EPILOG
        add = parser.add_argument
        add(
            "import_path",
            metavar="module:app",
            nargs="?",
            help="an application or a function building one; path/to/module.py:app as well",
        )
        add("pairs", nargs="*", metavar="key=value", help="arguments of that function")
        add("-d", "--app-dir", default=".", type=Path, help="where the module is (default: here)")
        add("--name", default="default", help="the application's name (default: %(default)s)")
        add("--route-prefix", metavar="PREFIX", help="paths it answers (default: /)")
        add("-a", "--address", help="the Ray cluster to use (default: RAY_ADDRESS, or a new one)")
        add("--local", action="store_true", help="serve in this process, without Ray")
        add("--host", help="listen there (default: 127.0.0.1)")
        add("--port", type=int, help="listen there (default: 8000)")
        add("--insecure", action="store_true", help="allow a --host beyond this machine")
        add("--timeout", type=float, metavar="SECONDS", help="end when it does not run by then")
        add("--blocking", dest="blocking", action="store_true", help="stay until Ctrl-C (default)")
        add("--non-blocking", dest="blocking", action="store_false", help="return once it answers")
        parser.set_defaults(blocking=True)

    def run(self, options: argparse.Namespace) -> int:
        """Serve until asked to stop; 128 + signal when that was before the first answer.

        Nothing is started before the application could be imported, and whatever was started
        is shut down again, unless it is up and `--non-blocking` was given. On an instance that
        ran already only the application is deleted. Where another process ends the instance, the
        command says so, and returns 0.
        """
        if options.import_path is None:
            print(_NOTHING_TO_RUN, file=sys.stderr)
            return 2
        _check(options)
        arguments = keyed(options.pairs)
        import_path, app_dir = ImportPath.locate(options.import_path, options.app_dir.resolve())
        target = import_path.load(app_dir)
        serve = self._get_facade()
        # This command says what `serve.run` would say of a success.
        logging.getLogger("alacarte.serve").setLevel(logging.WARNING)
        app = application(target, arguments, serve, import_path)
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
        raise ConfigError("--local uses no Ray: leave out --address.")
    if options.local and not options.blocking:
        raise ConfigError("--local serves in this process and ends with it: no --non-blocking.")
    if options.timeout is not None and not options.timeout > 0:
        raise ConfigError(f"--timeout {options.timeout:g} must be greater than 0.")
    if not options.app_dir.is_dir():
        raise ConfigError(f"--app-dir {options.app_dir} is not a directory.")


class _Run:
    """One application, from its start to its end."""

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
            # A signal may arrive at any line. Only with a `finally` of its own is `hold` certain
            # to run before the shutdown, which then nothing interrupts.
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
                self._stop.hold()
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
            # What others started on that cluster goes on when we are done.
            progress.step("looking for a Ray cluster")
            self._joined = self._serve.attach(options.address)
        progress.step("starting" if options.local or self._joined else "starting Ray and alacarte")
        self._serve.start(
            cluster="local" if options.local else None,
            address=options.address,
            http_options=_http_options(options) or None,
            foreground=options.blocking and not self._joined,
        )
        self._stop.arm()  # ray.init takes SIGTERM for itself
        progress.step(f"starting {options.name}", self._serve.status)
        # Not given, the prefix is the facade's: there is none where HTTP is not installed.
        route = {} if options.route_prefix is None else {"route_prefix": options.route_prefix}
        try:
            self._serve.run(self._app, name=options.name, timeout_s=options.timeout, **route)
        except DeployTimeoutError as late:
            head = f"{options.name} does not run after {options.timeout:g} s, and was ended."
            waiting = [f"{deployment}: {text}" for deployment, text in late.waiting.items()]
            raise ServeError("\n".join([head, *waiting, *late.causes])) from None

    def _end(self) -> None:
        if self._joined:
            self._serve.delete(self._options.name)
        else:
            self._serve.shutdown()


def _http_options(options: argparse.Namespace) -> dict[str, Any]:
    given = {"host": options.host, "port": options.port, "insecure": options.insecure or None}
    return {name: value for name, value in given.items() if value is not None}


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
    return f"{line}, but requests there go to {others}, by a route in front of its own"


def _end_after(error: BaseException, end: Callable[[], None]) -> None:
    try:
        end()
    except Exception as second:  # the first error is the one to show, whatever this one is
        error.add_note(f"shutting down failed as well: {second}")


command = RunCommand()
