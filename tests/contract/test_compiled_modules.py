"""The modules that alacarte-compiled compiles: what holds of them without compiling them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "compiled" / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
MODULES = [ROOT / "packages" / name for name in HOOK["modules"]]


def classes(path: Path) -> list[ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_whoever_inherits_from_a_compiled_class_is_compiled():
    """A class in Python cannot inherit from a compiled one; making an object of it raises."""
    protocols = ("Protocol", "NamedTuple", "IntEnum")
    compiled = {
        each.name
        for path in MODULES
        for each in classes(path)
        if not any(ast.unparse(base) in protocols for base in each.bases)
    }
    offences = [
        f"{path.relative_to(ROOT)}: {each.name}"
        for path in sorted((ROOT / "packages").glob("*/src/**/*.py"))
        if path not in MODULES
        for each in classes(path)
        # By name: those that are imported under it.
        if any(ast.unparse(base) in compiled & imported(path) for base in each.bases)
    ]
    assert offences == []


def imported(path: Path) -> set[str]:
    """Return the names that a module imports from a compiled one."""
    stems = {module.stem for module in MODULES}
    return {
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] in stems
        for alias in node.names
    }


def test_the_version_is_that_of_core():
    """What is compiled fits one release, and is named like it."""
    versions = {
        re.search(r'__version__ = "(.+)"', path.read_text(encoding="utf-8"))[1]  # type: ignore[index]
        for path in (
            ROOT / "compiled/src/alacarte_compiled/__about__.py",
            ROOT / "packages/core/src/alacarte/__about__.py",
            ROOT / "packages/http/src/alacarte_http/__about__.py",
        )
    }
    [version] = versions
    assert PROJECT["project"]["dependencies"] == [
        f"alacarte-core=={version}",
        f"alacarte-http=={version}",
    ]
