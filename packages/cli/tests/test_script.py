from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from alacarte.errors import ConfigError
from alacarte_cli.script import Environment, foreign_script, owner, script_text

PIP_RAY = """#!/venv/bin/python
import sys
from ray.serve.scripts import cli
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(cli())
"""
PIP_OURS = """#!/venv/bin/python
import sys
from alacarte_cli.main import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment with Ray's `serve` and our `alacarte`, first on PATH, as uv makes it."""
    scripts = tmp_path / "venv" / "bin"
    program(scripts, "serve", PIP_RAY)
    program(scripts, "alacarte", PIP_OURS)
    return Environment("/venv/bin/python", scripts, f"{scripts}{os.pathsep}{tmp_path}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PIP_OURS, "alacarte"),
        (PIP_RAY, "ray"),
        ("#!/usr/bin/env node\nrequire('serve')", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_script_is_recognized_by_its_imports(tmp_path: Path, text: str, expected: str) -> None:
    """The scripts of pip and uv are recognized by their imports."""
    assert owner(program(tmp_path, "serve", text)) == expected


def test_the_remedy_for_a_foreign_script(environment: Environment, tmp_path: Path) -> None:
    """The note proposes to replace this environment's script, or to change PATH."""
    assert foreign_script(environment).endswith("run `alacarte doctor --fix` to replace it.")
    other = program(tmp_path / "other", "serve", PIP_RAY)
    behind = replace(environment, path=f"{other.parent}{os.pathsep}{environment.path}")
    assert foreign_script(behind).endswith(f"or put {environment.scripts} first on PATH.")
    environment.repair()
    assert not foreign_script(environment)


def test_a_missing_script(tmp_path: Path) -> None:
    """A missing script has another owner than an unreadable one."""
    assert owner(tmp_path / "serve") == "missing"
    assert owner(tmp_path) == "unknown"


def test_repair_writes_what_pip_would(environment: Environment) -> None:
    """Ray's script is replaced by ours, executable by everyone, and nothing else is left."""
    environment.repair()
    assert environment.script.read_text() == PIP_OURS
    assert stat.S_IMODE(environment.script.stat().st_mode) == 0o755
    assert sorted(path.name for path in environment.scripts.iterdir()) == ["alacarte", "serve"]


def test_repair_writes_a_missing_script(environment: Environment) -> None:
    """A missing script is written: uninstalling Ray may remove `serve`."""
    environment.script.unlink()
    environment.repair()
    assert owner(environment.script) == "alacarte"


def test_repair_leaves_hard_links_alone(environment: Environment, tmp_path: Path) -> None:
    """A hard link in an installer's cache keeps its content."""
    cached = tmp_path / "cached"
    os.link(environment.script, cached)
    environment.repair()
    assert cached.read_text() == PIP_RAY


def test_a_strangers_script_is_not_overwritten(environment: Environment) -> None:
    """An unknown `serve`, such as Node's, is not replaced."""
    environment.script.write_text("#!/usr/bin/env node")
    with pytest.raises(ConfigError, match="neither alacarte's nor Ray's"):
        environment.repair()
    assert environment.script.read_text() == "#!/usr/bin/env node"


def test_a_directory_without_our_alacarte_is_not_ours_to_write(environment: Environment) -> None:
    """Without `alacarte` in the directory, its scripts may belong to another environment."""
    (environment.scripts / "alacarte").unlink()
    with pytest.raises(ConfigError, match="not this environment's"):
        environment.repair()
    assert owner(environment.script) == "ray"


def test_a_link_is_not_replaced(environment: Environment, tmp_path: Path) -> None:
    """A link is not replaced, since a user has made it on purpose."""
    elsewhere = program(tmp_path / "other", "serve", PIP_RAY)
    environment.script.unlink()
    environment.script.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a link to"):
        environment.repair()
    assert elsewhere.read_text() == PIP_RAY


def test_what_cannot_be_written_is_said(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the system's reason, and no temporary file is left."""
    monkeypatch.setattr(Path, "replace", _read_only)
    with pytest.raises(ConfigError, match="Read-only file system"):
        environment.repair()
    assert sorted(path.name for path in environment.scripts.iterdir()) == ["alacarte", "serve"]


def _read_only(self: Path, target: Path) -> None:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("folder", ["plain", "with blank", "x" * 130])
def test_the_script_runs_that_interpreter(tmp_path: Path, folder: str) -> None:
    """The script runs with blanks and more than 127 bytes in the interpreter's path, too."""
    (tmp_path / folder).mkdir()
    python = tmp_path / folder / "python"
    python.symlink_to(sys.executable)
    package = tmp_path / "alacarte_cli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text("def main():\n    print('ours')\n    return 7\n")
    script = program(tmp_path, "serve", script_text(str(python)))
    done = subprocess.run(
        [script], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("ours\n", 7)


def test_the_first_on_the_path_is_found_through_links(
    environment: Environment, tmp_path: Path
) -> None:
    """A link elsewhere on the path, as tool installers make them, still reaches our own."""
    links = tmp_path / "links"
    links.mkdir()
    (links / "serve").symlink_to(environment.script)
    linked = Environment(environment.python, environment.scripts, str(links))
    assert linked.first() == links / "serve"
    assert linked.reaches_own()


def test_another_environments_script(environment: Environment, tmp_path: Path) -> None:
    """Another environment's script, first on PATH, is not this environment's."""
    other = program(tmp_path / "other", "serve", PIP_OURS)
    path = f"{other.parent}{os.pathsep}{environment.path}"
    assert not Environment(environment.python, environment.scripts, path).reaches_own()


def test_the_current_environment_is_this_one() -> None:
    """It runs this interpreter, and its scripts are in a directory that exists."""
    current = Environment.current()
    assert current.python == sys.executable
    assert current.scripts.is_dir()
