"""Two checkouts to compare: where they come from, and the environment each gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from .peers import ENVIRONMENTS, REPOSITORY, SetupError, checkout_interpreter, sources_digest

PREFIX = "checkout-"
MAX_ENVIRONMENTS = 6  # kept of those that checkouts were compared in


@dataclass(frozen=True)
class Checkout:
    """A state of the repository that is compared with another.

    Attributes:
        name: As given on the command line.
        commit: Short id; "" for a folder that is no clone.
        changed: Whether the packages differ from that commit.
        digest: Of what is installed.
        python: With its packages.
    """

    name: str
    commit: str
    changed: bool
    digest: str
    python: Path

    @property
    def label(self) -> str:
        """Return what the table says of it."""
        commit = f" ({self.commit}{' with changes' if self.changed else ''})" if self.commit else ""
        return f"{self.name}{commit}, digest {self.digest}"


def checkout(name: str) -> Checkout:
    """Return a checkout with an environment of its own, made unless there is one.

    Args:
        name: A folder with `packages/`, or a revision of this repository.

    Raises:
        SetupError: It is neither, or the environment cannot be made.
    """
    folder = Path(name)
    if (folder / "packages").is_dir():
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        changed = bool(_git(folder, "status", "--porcelain", "--", "packages"))
        return _installed(name, commit, changed, folder.absolute())
    commit = _git(REPOSITORY, "rev-parse", "--short", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        raise SetupError(f"{name} is neither a folder with packages/ nor a revision")
    with _exported(commit) as exported:
        return _installed(name, commit, False, exported)


def _installed(name: str, commit: str, changed: bool, folder: Path) -> Checkout:
    digest = sources_digest(folder)
    environment = f"{PREFIX}{digest}"
    python = checkout_interpreter(folder, environment)
    os.utime(ENVIRONMENTS / environment)
    _remove_old_environments()
    return Checkout(name, commit, changed, digest, python)


def _remove_old_environments() -> None:
    """Remove all but those environments of checkouts that were used last."""
    found = sorted(ENVIRONMENTS.glob(f"{PREFIX}*"), key=lambda path: -path.stat().st_mtime)
    for folder in found[MAX_ENVIRONMENTS:]:
        print(f"removing the environment {folder} …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _exported(commit: str) -> Iterator[Path]:
    """Write what a commit's packages are built from to a temporary folder, for a block.

    An export leaves no trace in the repository, as a worktree would when interrupted.
    """
    paths = ["packages"]
    if _git(REPOSITORY, "ls-tree", commit, "constraints.txt"):
        paths.append("constraints.txt")
    done = subprocess.run(
        ["git", "archive", commit, *paths], cwd=REPOSITORY, capture_output=True, timeout=60
    )
    if done.returncode:
        raise SetupError(f"could not export {commit}: {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="checkout-") as folder:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says, "" if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
