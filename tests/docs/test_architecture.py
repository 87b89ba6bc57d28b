"""The architecture page names functions and files that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOTS = [
    ROOT,
    *ROOT.glob("packages/*/src/alacarte*"),
    *(ROOT / "packages/http/src/alacarte_http").glob("_edge"),
    *(ROOT / "packages/endpoints/src").glob("alacarte_endpoints"),
]
PACKAGES = {
    "core": ROOT / "packages/core/src/alacarte",
    "http": ROOT / "packages/http/src/alacarte_http",
    "handles": ROOT / "packages/handles/src/alacarte_handles",
}
# "`Router.call`, `Router.update` (`_routing/router.py`)"
NAMED = re.compile(r"((?:`[A-Za-z_.]+`, )*`[A-Za-z_.]+`) \(`([\w/]+\.py)`\)")
# "| 3 | driver | core | ..."
STEPS = re.findall(r"^\| \d+ \| [\w, →]+ \| (\w+) \| .+ \| (.+) \|$", PAGE, re.M)
FILES = sorted(set(re.findall(r"[`/]?((?:\w+/)*\w+\.py)`", PAGE)))


def files(path: str) -> list[Path]:
    """Return the files that the page may mean: below a package, or below the repository."""
    return [root / path for root in ROOTS if (root / path).is_file()]


@cache
def defined(file: Path) -> set[str]:
    """Return the functions, classes and methods of a file, as "Class.method"."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


def functions(text: str) -> list[tuple[str, str]]:
    """Return each file and function that the text names, in order."""
    return [
        (path, name)
        for names, path in NAMED.findall(text)
        for name in re.findall(r"[A-Za-z_.]+", names)
    ]


WALKED = [(package, *each) for package, cell in STEPS for each in functions(cell)]


def test_the_flows_are_walked():
    """Each step of a flow names its functions, so the patterns of this test still find them."""
    assert len(WALKED) > 100
    assert all(functions(cell) for _, cell in STEPS)
    assert {"Controller.apply", "Router.call"} <= {name for _, _, name in WALKED}


@pytest.mark.parametrize(("package", "path", "name"), WALKED, ids=str)
def test_functions_of_a_step_exist(package: str, path: str, name: str):
    """A reader who looks a step of a flow up finds the function in the file of the package."""
    assert name in defined(PACKAGES[package] / path)


@pytest.mark.parametrize(("path", "name"), functions(PAGE), ids=str)
def test_functions_exist(path: str, name: str):
    """A reader of the page finds each function that it names."""
    assert any(name in defined(file) for file in files(path))


@pytest.mark.parametrize(
    "name",
    sorted(
        each.stem
        for each in PACKAGES["core"].iterdir()
        if (each.suffix == ".py" or (each / "__init__.py").is_file())
        and not each.stem.startswith("__")
    ),
)
def test_modules_of_core_are_listed(name: str):
    """The table of core's modules leaves none out."""
    table = PAGE.partition("| module | contents |")[2].partition("\n\n")[0]
    assert f"`{name}`" in table


@pytest.mark.parametrize("path", FILES)
def test_files_exist(path: str):
    """A file that the page names is in the repository."""
    assert files(path) or list(ROOT.glob(f"packages/**/{path}"))
