"""Files of the user's program, without the files of Python and of installed packages."""

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

_ALACARTE = __name__.partition(".")[0]
_Statement = tuple[str, int, tuple[str, ...]]
"""An import statement: a module, the level of a relative import, and the imported names."""
_MAX_PARSED = 4096
_parsed: dict[bytes, tuple[_Statement, ...]] = {}
"""Import statements by digest of the source: most files are unchanged at the next deployment."""


def import_paths() -> tuple[str, ...]:
    """Return the entries that another process's `sys.path` needs to import the user's code.

    These are the driver's entries in their order, without the entries of Python and of installed
    packages, then the working directory.
    """
    entries = [Path(entry).absolute() for entry in (*sys.path, "")]
    return tuple(dict.fromkeys(str(e) for e in entries if e.exists() and not _installed(e)))


def source_files(modules: Iterable[str], own: str) -> dict[str, Path]:
    """Return the user's files that modules depend on, by module name, except `__main__`'s.

    These are the files of the modules themselves, of modules loaded from the same top-level
    package (for a top-level module: the same directory), and of all modules in import statements
    anywhere in these files, loaded or not. Imports nothing.

    Args:
        modules: Names of the first modules.
        own: A module that counts as the user's even when it is installed as a package.
    """
    own = own.partition(".")[0]
    found: dict[str, Path] = {}
    seeds = [seed for seed in modules if _file_of(seed, own)]
    pending = [name for seed in seeds for name in (seed, *_neighbours(seed, own))]
    while pending:
        name = pending.pop()
        if name in found or name.partition(".")[0] == _ALACARTE:
            continue
        path = _file_of(name, own)
        if path is None:
            continue
        found[name] = path
        if path.suffix == ".py":
            pending += _imported_by(name, path)
    # Code of `__main__` that a replica runs is in the pickle; other lines do not matter to it.
    found.pop("__main__", None)
    return found


def _neighbours(name: str, own: str) -> list[str]:
    """Return the loaded modules of the same top-level package, or else the same directory."""
    if name == "__main__":
        name = _main_name()
    top = name.partition(".")[0]
    loaded = list(sys.modules)  # a copy: other threads may import
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
    """Return the module name of `python -m`, otherwise `__main__`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else "__main__"


def _file_of(name: str, own: str) -> Path | None:
    """Return the file of a user's module, loaded or not; None for other modules."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if module else _find(name)
    path = Path(file or "").absolute()
    users = name.partition(".")[0] == own or not _installed(path)
    return path if users and path.is_file() else None


def _find(name: str) -> str | None:
    """Return the file that importing `name` would load.

    `importlib.util.find_spec` does not do: it imports the module's parent packages.
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
        # Members that are not modules have no file, and are dropped.
        yield from (f"{base}.{member}" for member in members if base)


def _statements(source: bytes) -> tuple[_Statement, ...]:
    """Return the import statements of a source; () for a source that does not parse."""
    key = hashlib.sha256(source).digest()
    found = _parsed.get(key)
    if found is None:
        if len(_parsed) >= _MAX_PARSED:
            _parsed.clear()
        found = _parsed[key] = tuple(_parse(source))
    return found


def _parse(source: bytes) -> Iterator[_Statement]:
    try:
        with warnings.catch_warnings():
            # Importing the file warns of invalid escapes; one warning is enough.
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
    # "scripts" holds the `serve` program, and is the first entry of `sys.path` when that runs.
    keys = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    paths = [Path(sysconfig.get_path(key)) for key in keys]
    # A virtual environment's Python has its standard library elsewhere than its packages.
    stdlib = Path(os.__file__).parent
    zipped = stdlib.with_name(f"python{sys.version_info.major}{sys.version_info.minor}.zip")
    return frozenset(path.resolve() for path in (*paths, stdlib, zipped))


_PYTHON = _installation()


@lru_cache(4096)  # called for every loaded module, for every deployment
def _installed(path: Path) -> bool:
    """Return whether a path belongs to Python or to an installed package.

    `sys.prefix` does not tell: user programs may be below `/usr`, above all in containers.
    """
    real = path.resolve()
    if not {"site-packages", "dist-packages"}.isdisjoint(real.parts):
        return True
    return not _PYTHON.isdisjoint((real, *real.parents))
