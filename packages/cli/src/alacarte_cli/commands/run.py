"""`alacarte run`: an application from an import path, served until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alacarte.errors import ConfigError
from alacarte.status import ServeStatus
from alacarte_cli.builder import application, keyed
from alacarte_cli.facade import Facade, GetFacade, facade
from alacarte_cli.import_path import ImportPath
from alacarte_cli.stop import Stopped, StopSignals

__all__ = ["RunCommand", "command"]


class RunCommand:
    """Brings an application up, says where it listens, and takes everything down at the end.

    Args:
        get_facade: Gives `alacarte.serve`.
        signals: Makes what listens to Ctrl-C and SIGTERM.
    """

    def __init__(
        self, get_facade: GetFacade = facade, signals: Callable[[], StopSignals] = StopSignals
    ) -> None:
        self._get_facade = get_facade
        self._signals = signals

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what to run, where to find it and where to listen."""
        add = parser.add_argument
        add("import_path", metavar="module:app", help="an application or a function building one")
        add("pairs", nargs="*", metavar="key=value", help="arguments of that function")
        add("-d", "--app-dir", default=".", type=Path, help="where the module is (default: here)")
        add("--name", default="default", help="the application's name (default: %(default)s)")
        add("--route-prefix", metavar="PREFIX", help="paths it answers (default: /)")
        add("-a", "--address", help="the Ray cluster to use (default: RAY_ADDRESS, or a new one)")
        add("--local", action="store_true", help="serve in this process, without Ray")
        add("--host", help="listen there (default: 127.0.0.1)")
        add("--port", type=int, help="listen there (default: 8000)")
        add("--insecure", action="store_true", help="allow a --host beyond this machine")
        add("--blocking", dest="blocking", action="store_true", help="stay until Ctrl-C (default)")
        add("--non-blocking", dest="blocking", action="store_false", help="return once it answers")
        parser.set_defaults(blocking=True)

    def run(self, options: argparse.Namespace) -> int:
        """Serve until asked to stop; 128 + signal when that was before the first answer.

        Nothing is started before the application could be imported, and whatever was started
        is shut down again, unless it is up and `--non-blocking` was given. On an instance that
        ran already only the application is deleted.
        """
        _check(options)
        arguments = keyed(options.pairs)
        import_path = ImportPath.parse(options.import_path)
        target = import_path.load(options.app_dir.resolve())
        serve = self._get_facade()
        app = application(target, arguments, serve, import_path)
        stop = self._signals()
        stop.arm()
        try:
            return _serve(serve, app, options, stop)
        finally:
            stop.restore()


def _check(options: argparse.Namespace) -> None:
    if options.local and options.address:
        raise ConfigError("--local uses no Ray: leave out --address.")
    if options.local and not options.blocking:
        raise ConfigError("--local serves in this process and ends with it: no --non-blocking.")
    if not options.app_dir.is_dir():
        raise ConfigError(f"--app-dir {options.app_dir} is not a directory.")


def _serve(serve: Facade, app: object, options: argparse.Namespace, stop: StopSignals) -> int:
    answering = False
    joined = False

    def end() -> None:
        if joined:
            serve.delete(options.name)
        else:
            serve.shutdown()

    try:
        # A signal may arrive at any line. Only with a `finally` of its own is `hold` certain
        # to run before the shutdown, which then nothing interrupts.
        try:
            # What others started on that cluster goes on when we are done.
            joined = not options.local and serve.attach(options.address)
            _bring_up(serve, app, options, stop)
            answering = True
            print(_ready(serve.status(), options.name), flush=True)
            if not options.blocking:
                return 0
            print("Ctrl-C to stop.", file=sys.stderr, flush=True)
            stop.wait()
        finally:
            stop.hold()
    except Stopped as stopped:
        end()
        return 0 if answering else 128 + stopped.number
    except BaseException as error:
        _end_after(error, end)
        raise


def _bring_up(serve: Facade, app: object, options: argparse.Namespace, stop: StopSignals) -> None:
    serve.start(
        cluster="local" if options.local else None,
        address=options.address,
        http_options=_http_options(options) or None,
    )
    stop.arm()  # ray.init takes SIGTERM for itself
    # Not given, the prefix is the facade's to choose: there is none where HTTP is not installed.
    route = {} if options.route_prefix is None else {"route_prefix": options.route_prefix}
    serve.run(app, name=options.name, **route)


def _http_options(options: argparse.Namespace) -> dict[str, Any]:
    given = {"host": options.host, "port": options.port, "insecure": options.insecure or None}
    return {name: value for name, value in given.items() if value is not None}


def _ready(status: ServeStatus, name: str) -> str:
    app = status.applications.get(name)
    prefix = None if app is None else app.route_prefix
    urls = {proxy.url.rstrip("/") for proxy in status.proxies.values() if proxy.url}
    if prefix is None or not urls:
        return f"{name} is running, without HTTP."
    return f"{name} is running at {', '.join(url + prefix for url in sorted(urls))}"


def _end_after(error: BaseException, end: Callable[[], None]) -> None:
    try:
        end()
    except Exception as second:  # the first error is the one to show, whatever this one is
        error.add_note(f"shutting down failed as well: {second}")


command = RunCommand()
