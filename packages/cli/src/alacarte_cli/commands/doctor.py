"""`alacarte doctor`: check the installation, and which program the shell runs as `serve`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

from alacarte.errors import ConfigError
from alacarte.plugins import PluginRecord
from alacarte_cli.render import table
from alacarte_cli.script import Environment, owner

__all__ = ["DoctorCommand", "Finding", "command"]

OWNERS = {"alacarte": "alacarte's", "ray": "Ray's", "unknown": "another program"}


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    verdict: Literal["ok", "note", "WRONG"]
    subject: str
    text: str


class DoctorCommand:
    """The command that checks the installation, and replaces Ray's `serve` script on request.

    Args:
        environment: Returns the installation to check.
    """

    def __init__(self, environment: Callable[[], Environment] = Environment.current) -> None:
        self._environment = environment

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the option `--fix`."""
        parser.add_argument(
            "--fix", action="store_true", help="replace Ray's `serve` with alacarte's"
        )

    def run(self, options: argparse.Namespace) -> int:
        """Print the findings, after a repair on request; return 1 when one of them is wrong."""
        environment = self._environment()
        if options.fix:
            _fix(environment)
        findings = [*_software(options.plugins.records), *_scripts(environment)]
        print(table([(each.verdict, each.subject, each.text) for each in findings]))
        return 1 if any(each.verdict == "WRONG" for each in findings) else 0


def _fix(environment: Environment) -> None:
    before = owner(environment.script)
    if before == "alacarte":
        print(f"nothing to fix: {environment.script} is alacarte's.\n")
        return
    try:
        environment.repair()
    except ConfigError as error:
        print(f"not fixed: {error}\n")
    else:
        note = "it was missing" if before == "missing" else f"it was {OWNERS[before]}"
        print(f"fixed: wrote {environment.script} ({note}).\n")


def _scripts(environment: Environment) -> Iterator[Finding]:
    program = owner(environment.script)
    if program == "alacarte":
        yield Finding("ok", "serve", f"{environment.script} is alacarte's")
    else:
        state = "is missing" if program == "missing" else f"is {OWNERS[program]}"
        remedy = "" if program == "unknown" else ": run `alacarte doctor --fix` to replace it"
        yield Finding("WRONG", "serve", f"{environment.script} {state}{remedy}")
    first = environment.first()
    if first is None:
        yield Finding("WRONG", "PATH", f"has no `serve`: add {environment.scripts} to it")
    elif environment.reaches_own():
        yield Finding("ok", "PATH", f"`serve` is {first}")
    else:
        yield Finding(
            "WRONG",
            "PATH",
            f"`serve` is {first} of another environment ({OWNERS[owner(first)]}): "
            f"put {environment.scripts} first",
        )


def _software(records: Iterable[PluginRecord]) -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    records = list(records)
    ours = {"alacarte-serve", "alacarte-core", *(record.distribution for record in records)}
    for name in sorted(ours - {""}):
        version = _version(name)
        if version is not None:
            yield Finding("ok", name, version)
    for record in records:
        if record.state == "failed":
            yield Finding("WRONG", f"plugin {record.name}", record.reason.partition("\n")[0])
    ray = _version("ray")
    if ray:
        yield Finding("ok", "ray", ray)
    else:
        yield Finding("note", "ray", "not installed: only --local works")
    if find_spec("uvloop"):
        yield Finding("ok", "uvloop", _version("uvloop") or "installed")
    else:
        yield Finding("note", "uvloop", "not installed: everything works, but slower")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


command = DoctorCommand()
