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
# "`Router.call`, `Router.update` (`_routing/router.py`)"
NAMED = re.findall(r"((?:`[A-Za-z_.]+`, )*`[A-Za-z_.]+`) \(`([\w/]+\.py)`\)", PAGE)
FUNCTIONS = [(path, name) for names, path in NAMED for name in re.findall(r"[A-Za-z_.]+", names)]
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


def test_the_flows_are_walked():
    """Both flows name their functions, so the pattern of this test still finds them."""
    assert len(FUNCTIONS) > 50
    assert {"Controller.apply", "Router.call"} <= {name for _, name in FUNCTIONS}


@pytest.mark.parametrize(("path", "name"), FUNCTIONS, ids=str)
def test_functions_exist(path: str, name: str):
    """A reader who looks a step of a flow up finds the function in the file."""
    assert files(path)
    assert any(name in defined(file) for file in files(path))


@pytest.mark.parametrize("path", FILES)
def test_files_exist(path: str):
    """A file that the page names is in the repository."""
    assert files(path) or list(ROOT.glob(f"packages/**/{path}"))
