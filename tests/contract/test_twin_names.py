"""No two modules of a package look alike, and no two of its classes have the same name."""

from __future__ import annotations

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGES = Path(__file__).parents[2] / "packages"

ALIKE = {
    # Ray Serve has these import paths; each module re-exports the names of its twin.
    ("core", "config", "serve/config"),
    ("core", "context", "serve/context"),
}
"""Modules of a package whose names are alike, with the reason."""


def one_letter_apart(one: str, other: str) -> bool:
    """Return whether two words differ by one letter, added, removed or replaced, or are equal."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    if len(short) == len(long):
        return sum(a != b for a, b in zip(short, long, strict=True)) <= 1
    return any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def word_of(module: str) -> str:
    """Return the name that a reader sees: `_queue` and `batching/queue` are both "queue"."""
    return module.rpartition("/")[2].strip("_")


def alike(modules: Iterable[str]) -> set[tuple[str, str]]:
    """Return the pairs of modules that a reader may take for one another."""
    return {
        (one, other)
        for one, other in itertools.combinations(sorted(modules), 2)
        if one_letter_apart(word_of(one), word_of(other))
    }


def defined_twice(classes: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the names of classes that more than one module defines."""
    homes = defaultdict(set)
    for module, names in classes.items():
        for name in names:
            homes[name].add(module)
    return {name for name, found in homes.items() if len(found) > 1}


def modules_of(package: Path) -> dict[str, set[str]]:
    """Return the names of the classes in each module of a package."""
    [source] = package.glob("src/*")
    return {
        str(path.relative_to(source).with_suffix("")): {
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef)
        }
        for path in source.rglob("*.py")
        if not path.name.startswith("__")
    }


def packages() -> dict[str, dict[str, set[str]]]:
    """Return the modules of each package that has code, with their classes."""
    folders = (each for each in PACKAGES.iterdir() if list(each.glob("src/*")))
    return {folder.name: modules_of(folder) for folder in folders}


def test_no_two_modules_look_alike():
    """One letter, a plural or an underscore is not enough to tell two modules apart."""
    found = {(package, *pair) for package, modules in packages().items() for pair in alike(modules)}
    assert found == ALIKE


def test_no_class_is_defined_twice():
    """Jump-to-definition leads to one place."""
    found = {
        (package, name)
        for package, modules in packages().items()
        for name in defined_twice(modules)
    }
    assert found == set()


def test_what_is_alike():
    """A letter more, less or other; a plural; an underscore; the same name in another room."""
    assert alike(["load", "loads", "_shared", "shares", "a/x_one", "b/_x_one", "far"]) == {
        ("load", "loads"),
        ("_shared", "shares"),
        ("a/x_one", "b/_x_one"),
    }
    assert alike(["shared", "shred_all", "room", "zoo"]) == set()
    assert defined_twice({"a": ["One", "Two"], "b": ["Two"]}) == {"Two"}
