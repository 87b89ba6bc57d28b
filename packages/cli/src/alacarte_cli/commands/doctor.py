"""`alacarte doctor`: what is installed here, and whose `serve` a shell would run."""

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

OWNERS = {"alacarte": "ours", "ray": "Ray's", "unknown": "neither ours nor Ray's"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at, and whether it is as it should be."""

    verdict: Literal["ok", "note", "WRONG"]
    subject: str
    text: str


class DoctorCommand:
    """Looks at the installation, and puts our `serve` script back where Ray's took its place.

    Args:
        environment: Gives the installation to look at.
    """

    def __init__(self, environment: Callable[[], Environment] = Environment.current) -> None:
        self._environment = environment

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the one choice."""
        parser.add_argument("--fix", action="store_true", help="make `serve` ours again")

    def run(self, options: argparse.Namespace) -> int:
        """Print what was found, repair if asked to, and return 1 when something stays wrong."""
        environment = self._environment()
        if options.fix:
            _fix(environment)
        findings = [*_software(options.plugins.records), *_scripts(environment)]
        print(table([(one.verdict, one.subject, one.text) for one in findings]))
        return 1 if any(one.verdict == "WRONG" for one in findings) else 0


def _fix(environment: Environment) -> None:
    whose = owner(environment.script)
    if whose == "alacarte":
        print(f"nothing to fix: {environment.script} is ours.\n")
        return
    try:
        environment.repair()
    except ConfigError as error:
        print(f"not fixed: {error}\n")
    else:
        before = "there was none" if whose == "nobody" else f"it was {OWNERS[whose]}"
        print(f"fixed: wrote {environment.script} ({before}).\n")


def _scripts(environment: Environment) -> Iterator[Finding]:
    whose = owner(environment.script)
    if whose == "alacarte":
        yield Finding("ok", "serve", f"{environment.script} is ours")
    else:
        what = "is missing" if whose == "nobody" else f"is {OWNERS[whose]}"
        cure = "" if whose == "unknown" else ": `alacarte doctor --fix` puts ours there"
        yield Finding("WRONG", "serve", f"{environment.script} {what}{cure}")
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
        yield Finding("note", "ray", "missing: only --local works")
    if find_spec("uvloop"):
        yield Finding("ok", "uvloop", _version("uvloop") or "present")
    else:
        yield Finding("note", "uvloop", "missing: everything works, at a lower speed")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


command = DoctorCommand()
