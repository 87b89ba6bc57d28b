"""A hook arrives with its first user in this repository, a heading in the docs, and a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("tests/*/src/**/*.py")])
DOCS = [
    path.read_text(encoding="utf-8")
    for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("tests/*/README.md")]
]
TESTS = [
    ast.parse(path.read_text(encoding="utf-8"))
    for pattern in ("packages/*/tests/**/*.py", "tests/*/**/*.py")
    for path in ROOT.glob(pattern)
    if path != Path(__file__)
]
STRANGERS_ONLY = {"make_meter", "on_event", "on_process", "on_replica", "wrap_http"}
"""Hooks that no package of ours implements, but only the one that stands for strangers'."""


def marked(marker: str) -> Iterator[tuple[str, str]]:
    """Yield hook and file for every function marked `@hookimpl` or `@hookspec`, strangers' too."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                _is(marker, each) for each in node.decorator_list
            ):
                yield node.name, str(path.relative_to(ROOT))


def implemented() -> Iterator[tuple[str, str]]:
    return marked("hookimpl")


def exercised() -> Iterator[str]:
    """Yield hooks that a test calls by name, or implements in a plugin of its own."""
    for tree in TESTS:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and any(
                _is("hookimpl", each) for each in node.decorator_list
            ):
                yield node.name
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node.func.attr


def _is(marker: str, node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and any(each.arg == "optionalhook" for each in node.keywords):
        return False  # of a hook that may be absent
    called = node.func if isinstance(node, ast.Call) else node
    return marker == (
        called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    )


SPECIFIED = dict(marked("hookspec"))
"""Where each hook is specified: in core, in a package of ours, or in a stranger's."""
HOOKS = sorted(SPECIFIED)
DOCSTRINGS = {
    node.name: ast.get_docstring(node) or ""
    for file in set(SPECIFIED.values())
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
}


def test_there_are_hooks():
    """The list of hooks is read, and not empty by a change of its form."""
    assert {"register_api", "register_commands", "wrap_replica"} <= set(HOOKS)
    assert len(list(marked("hookspec"))) == len(HOOKS), "two hooks have one name"


def test_every_hook_has_a_user():
    """A package of ours implements each hook; those listed have a stranger for their only user."""
    users: dict[str, list[str]] = {hook: [] for hook in HOOKS}
    for hook, file in implemented():
        users[hook].append(file)
    without = {h for h in HOOKS if not any(file.startswith("packages/") for file in users[h])}
    theirs = {hook for hook, file in SPECIFIED.items() if file.startswith("tests/")}
    assert without == STRANGERS_ONLY | theirs
    assert all(users[hook] for hook in without)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str):
    """Some page has a heading that names it."""
    heading = re.compile(rf"^#+ .*\b{hook}\b", re.MULTILINE)
    assert any(heading.search(page) for page in DOCS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_what_happens_when_it_raises(hook: str):
    """In its docstring, which the generated reference shows, and once below its heading."""
    docstring = " ".join(DOCSTRINGS[hook].split())
    assert docstring.count("When it raises") == 1
    section = re.compile(rf"^#+ [^\n]*\b{hook}\b.*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)
    [text] = [found[0] for page in DOCS for found in section.finditer(_without_code(page))]
    told = re.findall(r"^\W*When (?:it|the hook) raises", text, re.MULTILINE)
    assert len(told) == 1


def _without_code(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def test_every_hook_is_tested():
    """Some test calls each hook by name, or brings a plugin that implements it."""
    assert set(HOOKS) - set(exercised()) == set()


def test_every_implementation_is_of_a_hook():
    """No function is marked as the implementation of a hook that does not exist."""
    assert sorted(set(implemented()) - {(h, f) for h, f in implemented() if h in HOOKS}) == []
