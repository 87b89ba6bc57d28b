"""The `serve` script, which Ray's wheel installs, too: find its owner, and repair it."""

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

Owner = Literal["alacarte", "ray", "unknown", "missing"]
"""The package that a script belongs to; "missing" when there is no script."""

NAME = "serve"


@dataclass(frozen=True)
class Environment:
    """An installation of Python packages, and the PATH of the shell.

    Attributes:
        python: The interpreter of the installation's scripts.
        scripts: The directory of the installation's scripts.
        path: The shell's PATH.
    """

    python: str
    scripts: Path
    path: str

    @classmethod
    def current(cls) -> Environment:
        """Return the environment of this process."""
        return cls(sys.executable, _installed_scripts(), os.environ.get("PATH", os.defpath))

    @property
    def script(self) -> Path:
        """The path of this environment's `serve`, which may be missing."""
        return self.scripts / NAME

    def first(self) -> Path | None:
        """Return the `serve` that a shell runs, None when there is none."""
        found = shutil.which(NAME, path=self.path)
        return Path(found) if found else None

    def reaches_own(self) -> bool:
        """Return whether the shell's `serve` is this environment's, links followed."""
        first = self.first()
        return first is not None and first.resolve() == self.script.resolve()

    def repair(self) -> None:
        """Replace this environment's `serve` with alacarte's, atomically.

        Raises:
            ConfigError: The script is not Ray's, or not this environment's, or cannot be written.
        """
        if os.name != "posix":
            raise ConfigError(
                "scripts are programs on this system; run `pip install --force-reinstall --no-deps "
                "alacarte-cli`."
            )
        if owner(self.script) == "unknown":
            raise ConfigError(
                f"{self.script} is neither alacarte's nor Ray's; rename or remove it first."
            )
        if not (self.scripts / "alacarte").is_file():
            raise ConfigError(
                f"{self.scripts} has no `alacarte`, so its scripts are not this environment's."
            )
        if self.script.is_symlink():
            raise ConfigError(
                f"{self.script} is a link to {self.script.resolve()}; remove the link first."
            )
        _write(self.script, script_text(self.python))


def owner(script: Path) -> Owner:
    """Return the owner of a script, by the modules that it imports."""
    try:
        text = script.read_bytes()
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unknown"
    if b"alacarte_cli" in text:
        return "alacarte"
    return "ray" if b"ray.serve" in text else "unknown"


def foreign_script(environment: Environment) -> str:
    """Return a note when the shell's `serve` is Ray's, otherwise ""."""
    first = environment.first()
    if first is None or owner(first) != "ray":
        return ""
    remedy = "run `alacarte doctor --fix` to replace it"
    if not environment.reaches_own():
        remedy = f"put {environment.scripts} first on PATH"
    return f"note: `serve` on your PATH is Ray's ({first}); use `alacarte`, or {remedy}."


def script_text(python: str) -> str:
    """Return the script that pip writes for an interpreter."""
    # The kernel cuts the first line at 127 bytes and splits it at blanks; sh accepts any path.
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
    """Write a file beside the script and rename it: the old file may be a hard link to a cache."""
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
    """Return the directory of the installed scripts, from the metadata of alacarte-cli."""
    try:
        files = metadata.distribution("alacarte-cli").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "alacarte" and file.parent.name in ("bin", "Scripts"):
            return Path(str(file.locate())).resolve().parent
    return Path(sysconfig.get_path("scripts"))
