from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte.plugins import PluginRecord
from alacarte_cli.commands.doctor import DoctorCommand
from alacarte_cli.script import Environment, owner, script_text

RAYS = "#!/venv/bin/python\nfrom ray.serve.scripts import cli\n"
Run = Callable[..., int]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A sound environment: both scripts are alacarte's, and first on PATH."""
    for name in ("serve", "alacarte"):
        _program(tmp_path / "bin" / name, script_text("/venv/bin/python"))
    return Environment("/venv/bin/python", tmp_path / "bin", str(tmp_path / "bin"))


def _program(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def examine(environment: Environment, *, fix: bool = False, records: Any = ()) -> int:
    options = Namespace(fix=fix, plugins=SimpleNamespace(records=records))
    return DoctorCommand(lambda: environment).run(options)


def test_a_sound_installation_has_nothing_wrong(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound installation exits with 0, and lists Python, alacarte's packages, Ray and uvloop."""
    assert examine(environment) == 0
    out = capsys.readouterr().out
    assert "WRONG" not in out
    for subject in ("python", "alacarte-core", "ray", "uvloop", "serve", "PATH"):
        assert f" {subject} " in out


def test_rays_script_is_found_and_the_cure_named(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray's script is reported with the remedy and exit code 1, and is not changed."""
    environment.script.write_text(RAYS)
    assert examine(environment) == 1
    assert "is Ray's: run `alacarte doctor --fix`" in capsys.readouterr().out
    assert owner(environment.script) == "ray"


def test_fix_replaces_rays_script(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--fix` replaces Ray's script, and exits with 0."""
    environment.script.write_text(RAYS)
    assert examine(environment, fix=True) == 0
    assert f"fixed: wrote {environment.script} (it was Ray's)." in capsys.readouterr().out
    assert owner(environment.script) == "alacarte"


def test_fix_refuses_with_the_reason(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--fix` does not replace an unknown script, and exits with 1."""
    environment.script.write_text("#!/usr/bin/env node")
    assert examine(environment, fix=True) == 1
    assert "not fixed: " in capsys.readouterr().out
    assert environment.script.read_text() == "#!/usr/bin/env node"


def test_fix_does_nothing_where_nothing_is_wrong(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--fix` does not write alacarte's script again."""
    before = environment.script.stat().st_mtime_ns
    assert examine(environment, fix=True) == 0
    assert "nothing to fix" in capsys.readouterr().out
    assert environment.script.stat().st_mtime_ns == before


def test_another_environment_first_on_the_path_is_wrong_and_left_alone(
    environment: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--fix` writes only this environment's script; for another one there is advice."""
    other = tmp_path / "other" / "serve"
    _program(other, RAYS)
    path = f"{other.parent}{os.pathsep}{environment.path}"
    changed = Environment(environment.python, environment.scripts, path)
    assert examine(changed, fix=True) == 1
    assert f"`serve` is {other} of another environment (Ray's)" in capsys.readouterr().out
    assert other.read_text() == RAYS


def test_no_script_on_the_path_is_wrong(
    environment: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where PATH has no `serve`, the directory to add is named."""
    lost = Environment(environment.python, environment.scripts, str(tmp_path / "empty"))
    assert examine(lost) == 1
    assert f"add {environment.scripts} to it" in capsys.readouterr().out


def test_a_failed_plugin_is_wrong(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed plugin is wrong; the first line of its reason is shown."""
    failed = PluginRecord("odd", "odd.hooks", "alacarte-odd", "2.0", "failed", "Boom\nmore")
    assert examine(environment, records=[failed]) == 1
    out = capsys.readouterr().out
    assert "plugin odd" in out
    assert "more" not in out
