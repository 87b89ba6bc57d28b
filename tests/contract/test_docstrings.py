"""Every public name of the packages is documented, where a reader would look for the text."""

from __future__ import annotations

import ast
import asyncio
import io
import logging
import pickle
import selectors
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path

import pluggy

PACKAGES = Path(__file__).parents[2] / "packages"
FOREIGN_BASES = (
    asyncio.AbstractEventLoop,
    asyncio.BufferedProtocol,
    asyncio.Protocol,
    asyncio.Transport,
    asyncio.SelectorEventLoop,
    io.TextIOBase,
    logging.Handler,
    logging.Filter,
    logging.Formatter,
    pickle.Pickler,
    pickle.Unpickler,
    selectors.BaseSelector,
    Mapping,
    MutableMapping,
    Sequence,
    pluggy.HookspecMarker,
)
"""Classes of others whose methods ours override; their own documentation describes them."""
FOREIGN_NAMES = {"reducer_override"}
"""Methods that a foreign base class calls without defining: those of pickle."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Return each module of the packages with its path below `packages/`."""
    for path in sorted(PACKAGES.glob("*/src/**/*.py")):
        yield str(path.relative_to(PACKAGES)), ast.parse(path.read_text())


def is_public(name: str) -> bool:
    """Return whether a name promises anything: private and special names do not."""
    return not name.startswith("_")


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the public methods of a class."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(each.name):
            yield each


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the last names of a function's decorators."""
    found = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return {ast.unparse(each).rpartition(".")[2] for each in found}


def documented_methods(trees: list[ast.Module]) -> set[str]:
    """Return the names of methods that a base class or a Protocol documents.

    A class that implements one of these need not say the same again.
    """
    bases = {
        ast.unparse(base).partition("[")[0].rpartition(".")[2]
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    ours = {
        method.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and (node.name in bases or any("Protocol" in ast.unparse(base) for base in node.bases))
        for method in methods(node)
        if ast.get_docstring(method)
    }
    return (
        ours
        | FOREIGN_NAMES
        | {name for base in FOREIGN_BASES for name in dir(base) if is_public(name)}
    )


def undocumented(tree: ast.Module, inherited: set[str]) -> Iterator[str]:
    """Return the public names of a module that no docstring describes.

    The names of a private class are not public, nor are functions inside of functions. An overload
    and a property's setter share the docstring of the function that they belong to, and a hook
    implementation that of its specification.
    """
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not is_public(node.name):
            continue
        if not isinstance(node, ast.ClassDef):
            if not ast.get_docstring(node) and not decorators(node) & {"overload", "hookimpl"}:
                yield node.name
            continue
        if not ast.get_docstring(node):
            yield node.name
        for method in methods(node):
            if (
                not ast.get_docstring(method)
                and method.name not in inherited
                and not decorators(method) & {"overload", "setter", "override"}
            ):
                yield f"{node.name}.{method.name}"


def test_every_public_name_is_documented():
    """Modules, classes, functions and methods that are public have a docstring."""
    found = dict(modules())
    inherited = documented_methods(list(found.values()))
    missing = [
        f"{path}: {name}" for path, tree in found.items() for name in undocumented(tree, inherited)
    ]
    assert missing == []


def test_what_counts_as_undocumented():
    """The check sees a missing docstring at each level, and knows what inherits one."""
    tree = ast.parse(
        "def f(): ...\n"
        "def _g(): ...\n"
        "@hookimpl\n"
        "def hook(): ...\n"
        "class A:\n"
        "    def method(self): ...\n"
        "    def inherited(self): ...\n"
        "    def _private(self): ...\n"
        "class _B:\n"
        "    def method(self): ...\n"
    )
    assert list(undocumented(tree, {"inherited"})) == ["the module", "f", "A", "A.method"]


def test_what_is_inherited():
    """Methods that a Protocol, a base class or asyncio documents need no second docstring."""
    tree = ast.parse(
        "class P(Protocol):\n"
        "    def asked(self):\n"
        "        'Return the answer.'\n"
        "    def silent(self): ...\n"
        "class Base:\n"
        "    def given(self):\n"
        "        'Return the default.'\n"
        "class Child(Base): ...\n"
        "class Lonely:\n"
        "    def alone(self):\n"
        "        'Return nothing.'\n"
    )
    found = documented_methods([tree])
    assert {"asked", "given", "connection_made"} <= found
    assert not {"silent", "alone"} & found
