"""The `serve` script, which Ray's wheel installs as well: whose it is, and writing ours."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from alacarte.errors import ConfigError

__all__ = ["Environment", "Owner", "foreign_script", "owner", "script_text"]

Owner = Literal["alacarte", "ray", "unknown", "nobody"]
"""Whose a script is: ours, Ray's, someone else's, or there is none."""

NAME = "serve"


@dataclass(frozen=True)
class Environment:
    """One installation of Python packages and the way a shell finds its programs.

    Attributes:
        python: The interpreter that its scripts run.
        scripts: The directory its scripts are in.
        path: The shell's PATH.
    """

    python: str
    scripts: Path
    path: str

    @classmethod
    def current(cls) -> Environment:
        """Return the one this process runs in."""
        return cls(sys.executable, _installed_scripts(), os.environ.get("PATH", os.defpath))

    @property
    def script(self) -> Path:
        """Where this environment's own `serve` is or belongs."""
        return self.scripts / NAME

    def first(self) -> Path | None:
        """Return the `serve` a shell would run, None when it finds none."""
        found = shutil.which(NAME, path=self.path)
        return Path(found) if found else None

    def reaches_own(self) -> bool:
        """Whether a shell that is told `serve` runs this environment's, through links too."""
        first = self.first()
        return first is not None and first.resolve() == self.script.resolve()

    def repair(self) -> None:
        """Replace this environment's `serve` by ours, whole or not at all.

        Raises:
            ConfigError: It is not Ray's, or not this environment's, or cannot be written.
        """
        if os.name != "posix":
            raise ConfigError(
                "on this system scripts are programs: "
                "pip install --force-reinstall --no-deps alacarte-cli"
            )
        whose = owner(self.script)
        if whose == "unknown":
            raise ConfigError(f"{self.script} is neither ours nor Ray's, so it stays as it is.")
        if not (self.scripts / "alacarte").is_file():
            raise ConfigError(f"{self.scripts} has no `alacarte`, so it is not this environment's.")
        if self.script.is_symlink():
            raise ConfigError(f"{self.script} is a link to {self.script.resolve()}.")
        _write(self.script, script_text(self.python))


def owner(script: Path) -> Owner:
    """Tell whose a script is by what it imports."""
    try:
        text = script.read_bytes()
    except FileNotFoundError:
        return "nobody"
    except OSError:
        return "unknown"
    if b"alacarte_cli" in text:
        return "alacarte"
    return "ray" if b"ray.serve" in text else "unknown"


def foreign_script(environment: Environment) -> str:
    """Return a note where a shell that is told `serve` would run Ray's, else ""."""
    first = environment.first()
    if first is None or owner(first) != "ray":
        return ""
    remedy = "make `serve` ours with `alacarte doctor --fix`"
    if not environment.reaches_own():
        remedy = f"put {environment.scripts} first on it"
    return f"note: `serve` on your PATH is Ray's ({first}): use `alacarte`, or {remedy}."


def script_text(python: str) -> str:
    """Return the script as pip would write it for this interpreter."""
    # The kernel cuts the first line at 127 bytes and splits it at blanks; sh takes any path.
    simple = " " not in python and len(f"#!{python}\n".encode()) <= 127
    head = f"#!{python}\n" if simple else f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    return head + (
        "import sys\n"
        "from alacarte_cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n"
        "    sys.exit(main())\n"
    )


def _write(script: Path, text: str) -> None:
    """Write beside it and rename: the old file may be a hard link into an installer's cache."""
    try:
        handle, name = tempfile.mkstemp(dir=script.parent, prefix=f".{script.name}-")
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            draft.chmod(0o755)
            draft.replace(script)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{script} cannot be written: {error.strerror}.") from error


def _installed_scripts() -> Path:
    """Return where the installer put our scripts, which not even `pip --user` changes."""
    try:
        files = metadata.distribution("alacarte-cli").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "alacarte" and file.parent.name in ("bin", "Scripts"):
            return Path(str(file.locate())).resolve().parent
    return Path(sysconfig.get_path("scripts"))
