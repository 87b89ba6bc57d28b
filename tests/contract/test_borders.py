"""Who imports whom, read from the source: what import-linter's contracts cannot say.

They know modules that exist; these tests also hold for a room added tomorrow, for a submodule of
Ray, and for names imported as strings.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
PLUGINS = {
    "alacarte_autoscaling": PACKAGES / "autoscaling" / "src",
    "alacarte_batching": PACKAGES / "batching" / "src",
    "alacarte_cli": PACKAGES / "cli" / "src",
    "alacarte_endpoints": PACKAGES / "endpoints" / "src",
    "alacarte_handles": PACKAGES / "handles" / "src",
    "alacarte_http": PACKAGES / "http" / "src",
    "alacarte_multiplexing": PACKAGES / "multiplexing" / "src",
}
CORE = PACKAGES / "core" / "src"
RAY_ROOM = CORE / "alacarte" / "_cluster" / "ray"


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def imported(path: Path, source_root: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of everything a file imports, at any depth of it."""
    package = path.relative_to(source_root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif _loads_by_name(node):
            assert isinstance(node, ast.Call)
            argument = node.args[0]
            assert isinstance(argument, ast.Constant)
            yield node.lineno, str(argument.value)


def _loads_by_name(node: ast.AST) -> bool:
    """Tell whether a node is `import_module("…")` or `__import__("…")`."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in {"import_module", "__import__"}


def offences(folders: dict[Path, list[Path]], forbidden: Callable[[str], bool]) -> list[str]:
    return [
        f"{path.relative_to(PACKAGES)}:{line} imports {name}"
        for root, paths in folders.items()
        for path in paths
        for line, name in imported(path, root)
        if forbidden(name)
    ]


def everything() -> dict[Path, list[Path]]:
    return {root: sources(root) for root in [CORE, *PLUGINS.values()]}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_one_room_imports_ray():
    """Only `alacarte/_cluster/ray/` imports Ray, not even a type checker's branch elsewhere."""
    found = {
        root: [path for path in paths if path.parent != RAY_ROOM]
        for root, paths in everything().items()
    }
    assert offences(found, lambda name: within(name, "ray")) == []


def test_nothing_imports_ray_serve():
    """Nothing imports `ray.serve`, which alacarte replaces."""
    assert offences(everything(), lambda name: within(name, "ray.serve")) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_use_public_modules_of_core(plugin: str):
    """A plugin imports nothing of core that begins with an underscore: strangers could not."""

    def private(name: str) -> bool:
        return within(name, "alacarte") and any(
            part.startswith("_") and not part.startswith("__") for part in name.split(".")
        )

    root = PLUGINS[plugin]
    assert offences({root: sources(root)}, private) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_do_not_know_one_another(plugin: str):
    """A plugin imports no other plugin: what two of them need belongs to core."""
    others = PLUGINS.keys() - {plugin}
    root = PLUGINS[plugin]
    found = offences({root: sources(root)}, lambda name: any(within(name, o) for o in others))
    assert found == []


def test_core_knows_no_plugin():
    """Core imports no plugin; it names one only to say what to install."""
    assert offences({CORE: sources(CORE)}, lambda name: any(within(name, p) for p in PLUGINS)) == []


def import_graph(folders: dict[Path, list[Path]]) -> dict[str, set[str]]:
    """Return the modules that each module imports, lazily or for a type checker included."""
    named = {module_name(path, root): (path, root) for root in folders for path in folders[root]}
    graph: dict[str, set[str]] = {}
    for module, (path, root) in named.items():
        names = [name for _, name in imported(path, root)]
        found = {name if name in named else name.rpartition(".")[0] for name in names}
        graph[module] = (found & named.keys()) - {module}
    return graph


def module_name(path: Path, source_root: Path) -> str:
    parts = path.relative_to(source_root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that import one another, directly or through others."""
    reached = {module: reachable(graph, module) for module in graph}
    found: list[set[str]] = []
    for module in sorted(graph):
        together = {other for other in reached[module] if module in reached[other]}
        if together and together not in found:
            found.append(together)
    return found


def reachable(graph: dict[str, set[str]], module: str) -> set[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_no_import_cycle():
    """No module imports itself through others, not even lazily or for a type checker."""
    assert cycles(import_graph(everything())) == []


def test_a_cycle_is_found():
    """Cycles of two and of three are found, each as a whole; what only leads to one is none."""
    graph = {
        "a": {"b"},
        "b": {"a"},
        "c": {"a", "d"},
        "d": {"e"},
        "e": {"c"},
        "f": {"a"},
        "g": set(),
    }
    assert cycles(graph) == [{"a", "b"}, {"c", "d", "e"}]


def test_plugins_register_through_their_hooks_only():
    """A plugin's `hooks` module imports its own code inside functions, to load in no time."""
    eager = [
        f"{path.relative_to(PACKAGES)}:{node.lineno}"
        for root in PLUGINS.values()
        for path in root.glob("*/hooks.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
        if name.split(".")[0] in {"fastapi", "httptools", "numpy", "starlette", "uvicorn"}
    ]
    assert eager == []


def test_the_reader_sees_every_form(tmp_path: Path):
    """The reader of imports knows relative, nested, aliased and by-name imports."""
    room = tmp_path / "alacarte" / "_room"
    room.mkdir(parents=True)
    source = room / "noun.py"
    source.write_text(
        "import ray.util as u\n"
        "from .. import errors\n"
        "from .other import thing\n"
        "def f():\n"
        "    from ray import serve\n"
        "    importlib.import_module('ray.serve.api')\n"
    )
    assert [name for _, name in imported(source, tmp_path)] == [
        "ray.util",
        "alacarte.errors",
        "alacarte._room.other.thing",
        "ray.serve",
        "ray.serve.api",
    ]
