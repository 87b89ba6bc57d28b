"""Sources of two checkouts, and the lifetime of their environments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import checkouts
from harness.peers import SetupError, own_packages, sources_digest


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def write(repository: Path, body: str) -> None:
    source = repository / "packages" / "core" / "src" / "core.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(body)
    (repository / "packages" / "core" / "pyproject.toml").write_text("[project]\n")
    (repository / "constraints.txt").write_text("ray==2.60.0\n")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone whose environments are empty folders with what was installed in a file."""
    folder = tmp_path / "clone"
    write(folder, "old = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "old")

    def make(exported: Path, name: str) -> Path:
        environment = tmp_path / "environments" / name
        environment.mkdir(parents=True, exist_ok=True)
        [core] = own_packages(exported)
        (environment / "installed").write_text((core / "src" / "core.py").read_text())
        (environment / "lock").write_text((exported / "constraints.txt").read_text())
        return environment / "python"

    monkeypatch.setattr(checkouts, "REPOSITORY", folder)
    monkeypatch.setattr(checkouts, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(checkouts, "checkout_interpreter", make)
    return folder


def test_a_revision_and_a_folder(repository: Path):
    """A revision is installed as it was committed, a folder as it is now."""
    write(repository, "new = 1\n")
    old, new = checkouts.checkout("HEAD"), checkouts.checkout(str(repository))
    assert (old.python.parent / "installed").read_text() == "old = 1\n"
    assert (new.python.parent / "installed").read_text() == "new = 1\n"
    assert (old.python.parent / "lock").read_text() == "ray==2.60.0\n"
    commit = git(repository, "rev-parse", "--short", "HEAD")
    assert old.label == f"HEAD ({commit}), digest {old.digest}"
    assert new.label == f"{repository} ({commit} with changes), digest {new.digest}"
    assert git(repository, "worktree", "list").count("\n") == 0


def test_the_same_sources_share_an_environment(repository: Path):
    """A checkout that is compared with itself is installed once."""
    assert checkouts.checkout("HEAD").python == checkouts.checkout(str(repository)).python
    assert checkouts.checkout("HEAD").digest == sources_digest(repository)


def test_neither_folder_nor_revision(repository: Path):
    """The error names what was asked for."""
    with pytest.raises(SetupError, match="nonsense is neither a folder"):
        checkouts.checkout("nonsense")


def test_environments_used_last_are_kept(repository: Path, tmp_path: Path):
    """Others of checkouts are removed, those of peers never."""
    folder = tmp_path / "environments"
    for age in range(1, 9):
        each = folder / f"{checkouts.PREFIX}{age}"
        each.mkdir(parents=True)
        os.utime(each, (1_000_000 - age, 1_000_000 - age))
    (folder / "ray").mkdir()
    os.utime(folder / "ray", (1, 1))
    used = checkouts.checkout("HEAD").python.parent.name
    kept = {f"{checkouts.PREFIX}{age}" for age in range(1, checkouts.MAX_ENVIRONMENTS)}
    assert {path.name for path in folder.iterdir()} == {"ray", used, *kept}
