"""Which files the user's program is made of, as opposed to those of Python and its packages."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["import_paths", "source_files"]

_OURSELVES = __name__.partition(".")[0]
_Statement = tuple[str, int, tuple[str, ...]]
"""What is imported: a module, how many packages further up, and members of it."""
_MOST_PARSED = 4096
_parsed: dict[bytes, tuple[_Statement, ...]] = {}
"""By digest of the text: most files are the same at the next deployment."""


def import_paths() -> tuple[str, ...]:
    """Return what to add to another process's `sys.path` so that it can import the user's code.

    The driver's own entries in their order, without Python's and those of installed packages,
    then the working directory.
    """
    entries = [Path(entry).absolute() for entry in (*sys.path, "")]
    return tuple(dict.fromkeys(str(e) for e in entries if e.exists() and not _installed(e)))


def source_files(modules: Iterable[str], own: str) -> dict[str, Path]:
    """Return the user's files that these modules run, by module name; `__main__`'s is left out.

    That is the modules themselves, those loaded from the same top-level package (for a top-level
    module: the same directory), and all that these import by an import statement anywhere in
    their text, loaded or not. Nothing is imported to find out.

    Args:
        modules: Where to begin.
        own: A module of the user's even when it is installed as a package.
    """
    own = own.partition(".")[0]
    found: dict[str, Path] = {}
    seeds = [seed for seed in modules if _file_of(seed, own)]
    pending = [name for seed in seeds for name in (seed, *_neighbours(seed, own))]
    while pending:
        name = pending.pop()
        if name in found or name.partition(".")[0] == _OURSELVES:
            continue
        path = _file_of(name, own)
        if path is None:
            continue
        found[name] = path
        if path.suffix == ".py":
            pending += _imported_by(name, path)
    # By-value code of `__main__` is in its pickle; its other lines do not matter to a replica.
    found.pop("__main__", None)
    return found


def _neighbours(name: str, own: str) -> list[str]:
    """Return the loaded modules of the same top-level package, or else the same directory."""
    if name == "__main__":
        name = _main_name()
    top = name.partition(".")[0]
    loaded = list(sys.modules)  # a copy: other threads import, too
    if "." in name or hasattr(sys.modules.get(top), "__path__"):
        return [other for other in loaded if other == top or other.startswith(f"{top}.")]
    path = _file_of(name, own)
    if path is None:
        return []
    tops = [other for other in loaded if "." not in other]
    return [
        other for other in tops if (file := _file_of(other, own)) and file.parent == path.parent
    ]


def _main_name() -> str:
    """Return what `python -m` was given, `__main__` otherwise."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else "__main__"


def _file_of(name: str, own: str) -> Path | None:
    """Return the file of a module of the user's, loaded or not."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if module else _find(name)
    path = Path(file or "").absolute()
    users = name.partition(".")[0] == own or not _installed(path)
    return path if users and path.is_file() else None


def _find(name: str) -> str | None:
    """Return the file that importing `name` would load.

    Not `importlib.util.find_spec`, which imports the packages around a module.
    """
    path: Iterable[str] | None = None
    parts = name.split(".")
    spec = None
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), None if path is None else list(path))
        if spec is None:
            return None
        path = spec.submodule_search_locations or []
    return spec.origin if spec and spec.has_location else None


def _imported_by(name: str, path: Path) -> Iterator[str]:
    """Yield the names of the modules that a file's import statements may load."""
    try:
        statements = _statements(path.read_bytes())
    except OSError:
        return
    if name == "__main__":
        name = _main_name()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for base, level, members in statements:
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*above, base]).strip(".")
        yield from _with_parents(base)
        # Whatever of these is no module is not found, and dropped.
        yield from (f"{base}.{member}" for member in members if base)


def _statements(source: bytes) -> tuple[_Statement, ...]:
    """Return a file's import statements; none of one that is no Python."""
    key = hashlib.sha256(source).digest()
    found = _parsed.get(key)
    if found is None:
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        found = _parsed[key] = tuple(_parse(source))
    return found


def _parse(source: bytes) -> Iterator[_Statement]:
    try:
        with warnings.catch_warnings():
            # Importing the file warns of its odd escapes; once is enough.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, tuple(alias.name for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _installation() -> frozenset[Path]:
    # "scripts" is where the `serve` program itself lies, and so the first entry when it runs.
    keys = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    paths = [Path(sysconfig.get_path(key)) for key in keys]
    # A virtual environment's Python has its standard library elsewhere than its packages.
    stdlib = Path(os.__file__).parent
    zipped = stdlib.with_name(f"python{sys.version_info.major}{sys.version_info.minor}.zip")
    return frozenset(path.resolve() for path in (*paths, stdlib, zipped))


_PYTHON = _installation()


@lru_cache(4096)  # asked about every loaded module, for every deployment
def _installed(path: Path) -> bool:
    """Tell whether a path belongs to Python or to an installed package.

    Not by `sys.prefix`: programs do live below `/usr`, in containers above all.
    """
    real = path.resolve()
    if not {"site-packages", "dist-packages"}.isdisjoint(real.parts):
        return True
    return not _PYTHON.isdisjoint((real, *real.parents))
