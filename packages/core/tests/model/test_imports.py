"""Paths and files that belong to the user's program."""

import importlib
import sys
import sysconfig
from pathlib import Path

import pytest

from alacarte._model.imports import import_paths, source_files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Write files below a directory on `sys.path`; forget their modules afterwards."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return tmp_path

    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def files_of(*modules, own=""):
    return sorted(source_files(modules, own))


def test_paths_are_the_users_in_order(tmp_path, monkeypatch):
    """The user's entries stay, absolute, existing, once each, in order; then the cwd."""
    for name in ("one", "two", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    monkeypatch.setattr(sys, "path", [two, "../one", two, str(tmp_path / "missing")])
    assert [str(Path(path).resolve()) for path in import_paths()] == [
        two, one, str(tmp_path / "work"),
    ]  # fmt: skip


def test_empty_entry_is_the_working_directory(tmp_path, monkeypatch):
    """Python's "" stands where it stood, as an absolute path."""
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "lib")])
    assert import_paths() == (str(tmp_path), str(tmp_path / "lib"))


def test_python_and_its_packages_are_left_out(tmp_path, monkeypatch):
    """The replica's Python has its own standard library and packages."""
    stdlib = sysconfig.get_path("stdlib")
    other = tmp_path / "lib" / "site-packages"
    other.mkdir(parents=True)
    keys = ("stdlib", "purelib", "platlib", "scripts")
    entries = [sysconfig.get_path(key) for key in keys]
    entries += [f"{stdlib}/lib-dynload", str(other)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", entries)
    assert import_paths() == (str(tmp_path),)


def test_imports_are_followed(tree):
    """Files imported by a statement count, loaded or not, at the top or inside a function."""
    tree(
        {
            "entry.py": "import json, first\ndef f():\n    from pack.sub import thing\n",
            "first.py": "import second as s",
            "second.py": "",
            "pack/__init__.py": "",
            "pack/sub.py": "from . import peer\nfrom .peer import x\n",
            "pack/peer.py": "",
            "unused.py": "",
        }
    )
    assert files_of("entry") == ["entry", "first", "pack", "pack.peer", "pack.sub", "second"]
    assert "first" not in sys.modules


def test_relative_imports_are_resolved(tree):
    """Dots count from the package of the file, `__init__` included."""
    tree(
        {
            "deep/__init__.py": "from .a import x",
            "deep/a/__init__.py": "from .b import y",
            "deep/a/b.py": "from .. import c\nfrom ..d import z\nfrom .......far import q",
            "deep/c.py": "",
            "deep/d.py": "",
        }
    )
    assert files_of("deep.a.b") == ["deep", "deep.a", "deep.a.b", "deep.c", "deep.d"]


def test_loaded_modules_of_the_package_count(tree):
    """A package's modules that were loaded by a computed name count, too."""
    tree({"regist/__init__.py": "", "regist/plug.py": "", "regist/idle.py": ""})
    importlib.import_module("regist.plug")
    assert files_of("regist") == ["regist", "regist.plug"]


def test_loaded_modules_of_the_directory_count(tree):
    """Beside a top-level module, those loaded from the same directory count."""
    tree({"top_a.py": "", "top_b.py": "", "top_c.py": ""})
    importlib.import_module("top_a")
    importlib.import_module("top_b")
    assert files_of("top_a") == ["top_a", "top_b"]


def test_cycles_end(tree):
    """Modules may import one another."""
    tree({"ring_a.py": "import ring_b", "ring_b.py": "import ring_a"})
    assert files_of("ring_a") == ["ring_a", "ring_b"]


def test_installed_packages_do_not_count(tree):
    """Python's own and installed modules are the same wherever the program runs."""
    tree({"plain.py": "import json, pytest, alacarte.errors, not_there"})
    assert files_of("plain", "json", "pytest", "alacarte.types", "builtins") == ["plain"]


def test_own_package_counts_though_installed(tree, monkeypatch):
    """Deployments may come from an installed package: an upgrade of it is a change."""
    root = tree({"lib/site-packages/shop/__init__.py": "import shop.model, pytest"})
    (root / "lib/site-packages/shop/model.py").touch()
    monkeypatch.syspath_prepend(str(root / "lib/site-packages"))
    assert files_of("shop") == []
    assert files_of("shop", own="shop.model") == ["shop", "shop.model"]


def test_files_that_do_not_parse_count_themselves(tree):
    """A file with a syntax error is a file; what it imports is unknown."""
    tree({"broken.py": "import (", "namespace/inner.py": ""})
    assert files_of("broken", "namespace.inner") == ["broken", "namespace.inner"]


def test_looking_for_imports_does_not_warn(tree):
    """Parsing a file for imports does not emit the compiler's warnings."""
    tree({"odd.py": "x = '\\d'\nimport found", "found.py": ""})
    assert files_of("odd") == ["found", "odd"]
