"""A hook arrives with its first user in this repository, a heading in the docs, and a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from alacarte import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "alacarte_spec"))
DOCS = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
TESTS = [
    path.read_text(encoding="utf-8")
    for pattern in ("packages/*/tests/**/test_*.py", "tests/*/**/test_*.py")
    for path in ROOT.glob(pattern)
    if path != Path(__file__)
]


def implemented() -> Iterator[tuple[str, str]]:
    """Yield hook and file for every function marked `@hookimpl`: ours, and the stranger's."""
    for path in sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("tests/*/src/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(map(_is_hookimpl, node.decorator_list)):
                yield node.name, str(path.relative_to(ROOT))


def _is_hookimpl(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == (
        "hookimpl"
    )


def test_there_are_hooks():
    """The list of hooks is read, and not empty by a change of its form."""
    assert {"register_api", "register_commands", "wrap_replica"} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_user(hook: str):
    """Some package of this repository implements it, be it the one that stands for strangers'."""
    assert hook in dict(implemented())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str):
    """Some page has a heading that names it."""
    heading = re.compile(rf"^#+ .*\b{hook}\b", re.MULTILINE)
    assert any(heading.search(page) for page in DOCS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_tested(hook: str):
    """Some test names it."""
    assert any(re.search(rf"\b{hook}\b", source) for source in TESTS)


def test_every_implementation_is_of_a_hook():
    """No function is marked as the implementation of a hook that does not exist."""
    assert sorted(set(implemented()) - {(h, f) for h, f in implemented() if h in HOOKS}) == []
