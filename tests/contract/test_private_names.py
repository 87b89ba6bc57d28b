"""Names that other projects keep private, and may rename in any release: where we use which.

Each library has one module of ours that may use them, so that a release which renames one breaks
one file; and all are listed here, so that this test says which is gone, and `nox -s newest` runs
it with the newest versions.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
FILES = sorted(PACKAGES.glob("*/src/**/*.py"))


@dataclass(frozen=True)
class Private:
    """What we use of one library that it does not promise.

    Attributes:
        module: The one file that may.
        names: What is imported, or reached through the imported library, as dotted names.
        attributes: What is read or set on the library's objects: the module of the library whose
            source must have the name -> the names.
        undocumented: Modules of the library that have no underscore and are private all the same.
    """

    module: str
    names: frozenset[str] = frozenset()
    attributes: dict[str, frozenset[str]] = field(default_factory=dict)
    undocumented: tuple[str, ...] = ()


LIBRARIES = {
    "ray": Private(
        "core/src/alacarte/_cluster/ray/internals.py",
        frozenset(
            {
                "ray._private.ray_logging.RAY_DEDUP_LOGS",
                "ray._private.services.canonicalize_bootstrap_address",
                "ray._private.services.find_bootstrap_address",
                "ray._private.services.find_gcs_addresses",
                "ray._private.state.state.get_draining_nodes",
                "ray._private.worker.global_worker.gcs_client",
                "ray._raylet.AuthenticationTokenLoader",
                "ray._raylet.Config",
                "ray._raylet.IMPLICIT_RESOURCE_PREFIX",
                "ray._raylet.PlacementGroupID",
                "ray.core.generated.gcs_pb2.GcsNodeInfo",
            }
        ),
        undocumented=("ray.core.generated",),
    ),
    "starlette": Private(
        "http/src/alacarte_http/_starlette.py",
        attributes={
            "fastapi.routing": frozenset({"_IncludedRouter", "_flat_dependant"}),
            "starlette.datastructures": frozenset({"_state"}),
            "starlette.requests": frozenset({"_body", "_stream_consumed"}),
            "starlette.routing": frozenset({"_base_app", "_router"}),
        },
    ),
    # Of uvicorn no name with an underscore is used; see `UVICORN_SERVER`.
    "httptools": Private("http/src/alacarte_http/_httptools.py"),
    "websockets": Private(
        "http/src/alacarte_http/_websocket_frames.py",
        frozenset({"websockets.utils.accept_key"}),
        attributes={
            "websockets.protocol": frozenset(
                {"close_rcvd", "close_sent", "cur_size", "current_size", "parser_exc", "recv_frame"}
            )
        },
        undocumented=("websockets.utils",),
    ),
    "asyncio": Private(
        "core/src/alacarte/testing/_clock.py",
        attributes={"asyncio.base_events": frozenset({"_clock_resolution"})},
    ),
    # Frames of all threads; the documentation has it, with its underscore.
    "sys": Private("core/src/alacarte/_replica/loop_watch.py", frozenset({"sys._current_frames"})),
}
"""The libraries, and what we use of each."""

UVICORN_SERVER = frozenset({"serve", "should_exit", "servers", "started", "startup"})
"""Of `uvicorn.Server`, what `ProxyServer` calls, reads, sets or overrides.

Uvicorn's documentation promises `serve` and `should_exit`; the others have no underscore, and its
own subclasses for other event loops used them.
"""
UVICORN_MODULE = "http/src/alacarte_http/_proxy/proxy_server.py"

# Public in spite of their underscore: a named tuple's, `os._exit`, asyncio's exports; and what Ray
# Serve's users know of a batched function.
PUBLIC = {
    *asyncio.__all__,
    *("_replace", "_exit"),
    *("_get_batch_wait_timeout_s", "_get_max_batch_size"),
}

# Only some versions of the library have these.
OPTIONAL = frozenset({"_IncludedRouter", "_flat_dependant", "cur_size", "current_size"})


def relative(path: Path) -> str:
    return path.relative_to(PACKAGES).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def library_names(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, or reaches through what it has imported."""
    module = tree(path)
    bound: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    inner = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            found = chain(node, bound)
            if found:
                yield found


def chain(node: ast.expr, bound: dict[str, str]) -> str | None:
    """Return `a.b.c` for an expression of that form whose `a` was imported."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute):
        before = chain(node.value, bound)
        return before and f"{before}.{node.attr}"
    return None


def is_private(name: str) -> bool:
    """Whether a dotted name has a part with an underscore that its library does not export."""
    top, *rest = name.split(".")
    if top.startswith(("alacarte", "_")):
        return False
    listed = LIBRARIES.get(top)
    if listed and any(name.startswith(f"{each}.") for each in listed.undocumented):
        return True
    hidden = [part for part in rest if part.startswith("_") and not part.startswith("__")]
    return bool(hidden) and hidden[0] not in getattr(sys.modules.get(top), "__all__", ())


def defined() -> set[str]:
    """Return the names with an underscore that our own code gives to attributes."""
    found: set[str] = set()
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    found.add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # of `__slots__`, and of names that are set as strings
    return found


def foreign_attributes(path: Path, ours: set[str]) -> Iterator[str]:
    """Yield attributes with an underscore that a file uses and none of our code defines."""
    for node in ast.walk(tree(path)):
        name = ""
        if isinstance(node, ast.Attribute):
            name = "" if node.attr in ours else node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("getattr", "setattr", "hasattr") and len(node.args) > 1:
                given = node.args[1]
                name = str(given.value) if isinstance(given, ast.Constant) else ""
        if name.startswith("_") and not name.startswith("__"):
            yield name


def _listed(name: str) -> str:
    """Return the listed name that `name` begins with; what follows belongs to it."""
    names = [known for each in LIBRARIES.values() for known in each.names]
    return next((known for known in names if f"{name}.".startswith(f"{known}.")), name)


def test_private_names_are_listed_and_used_in_one_module():
    """Whoever imports a private name does so in the module for that library, and lists it."""
    listed = {(name, each.module) for each in LIBRARIES.values() for name in each.names}
    used = {
        (_listed(name), relative(path))
        for path in FILES
        for name in library_names(path)
        if is_private(name)
    }
    assert used == listed


@pytest.mark.parametrize("library", ["httptools", "websockets"])
def test_a_library_is_imported_in_one_module(library: str):
    """Of these libraries hardly a name is promised, so only the module for each imports it."""
    importers = {
        relative(path)
        for path in FILES
        for name in library_names(path)
        if name.partition(".")[0] == library
    }
    assert importers == {LIBRARIES[library].module}


def test_the_names_of_uvicorn_are_listed_and_used_in_one_module():
    """A subclass of its server may also reach, or replace by accident, what is not promised."""
    used = {
        (name, relative(path))
        for path in FILES
        for name in library_names(path)
        if name.partition(".")[0] == "uvicorn"
    }
    assert used == {
        (name, UVICORN_MODULE) for name in ("uvicorn", "uvicorn.Config", "uvicorn.Server")
    }
    uvicorn = pytest.importorskip("uvicorn")
    theirs = set(vars(uvicorn.Server)) - set(vars(object))
    theirs |= set(re.findall(r"self\.(\w+)", inspect.getsource(uvicorn.Server)))
    ours = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree(PACKAGES / UVICORN_MODULE))
        if isinstance(node, ast.Attribute | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    hooks = {name for name in theirs if name.startswith("__")}
    assert theirs & ours - hooks == UVICORN_SERVER


def test_private_attributes_are_listed_and_used_in_one_module():
    """So does whoever reaches into a library's objects."""
    ours = defined()
    listed = {
        (name, each.module)
        for each in LIBRARIES.values()
        for names in each.attributes.values()
        for name in names
    }
    reached = {
        part for each in LIBRARIES.values() for name in each.names for part in name.split(".")
    }
    used = {
        (name, relative(path))
        for path in FILES
        for name in foreign_attributes(path, ours)
        if name not in reached | PUBLIC
    }
    assert used <= listed
    for name, module in listed:
        assert name in (PACKAGES / module).read_text(encoding="utf-8"), f"{module} has no {name}"


@pytest.mark.parametrize("name", sorted(n for each in LIBRARIES.values() for n in each.names))
def test_the_installed_library_has_the_name(name: str):
    """A new version that has renamed it fails here, by name."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            if part == "gcs_client":
                return  # there once the process is connected
            found = getattr(found, part)
        return
    raise AssertionError(f"nothing of {name} can be imported")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for each in LIBRARIES.values()
        for module, names in each.attributes.items()
        for name in sorted(names - OPTIONAL)
    ],
)
def test_the_installed_library_has_the_attribute(module: str, name: str):
    """Its source still speaks of it."""
    pytest.importorskip(module)
    assert name in inspect.getsource(importlib.import_module(module))


@pytest.mark.parametrize("library", sorted(set(LIBRARIES) - set(sys.stdlib_module_names)))
def test_a_library_with_private_names_has_an_upper_bound(library: str):
    """A release that may have renamed them is not installed beside us."""
    folder = LIBRARIES[library].module.partition("/")[0]
    project = tomllib.loads((PACKAGES / folder / "pyproject.toml").read_text(encoding="utf-8"))
    [needed] = [
        each for each in project["project"]["dependencies"] if re.match(rf"{library}\b", each)
    ]
    assert re.fullmatch(rf"{library}>=[\d.]+,<[\d.]+", needed)
