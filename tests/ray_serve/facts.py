"""Write down the public surface of the installed Ray Serve, as facts that need no Ray to read.

Run in an environment with `ray[serve]` (benchmarks/ makes one). The result is `surface.json` beside
this file, for the version that we measure against:

    python tests/ray_serve/facts.py

Nothing here imports alacarte, and nothing of alacarte imports `ray.serve`.
"""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.util
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = [
    "", "api", "autoscaling_policy", "batching", "config", "context", "deployment", "exceptions",
    "gang", "gradio_integrations", "grpc_util", "handle", "llm", "metrics", "multiplex",
    "request_router", "schema", "task_consumer", "task_processor", "utils",
]  # fmt: skip
"""The modules that Ray's documentation imports from, below `ray.serve`."""


def stability(value: Any) -> str:
    """Return Ray's own annotation of a class or function, "" for none."""
    own = vars(value) if isinstance(value, type) else getattr(value, "__dict__", {})
    kind = own.get("_annotated_type")
    return str(getattr(kind, "value", kind) or "").lower()


def is_api(module: ModuleType, name: str) -> bool:
    """Return whether users find a name in a module: Ray's own classes and functions."""
    if name in getattr(module, "__all__", ()):
        return True
    value = getattr(module, name)
    home = getattr(value, "__module__", "") or ""
    named = isinstance(value, type) or inspect.isfunction(value)
    return (
        named
        and not name.startswith("_")
        and home.startswith("ray.serve")
        and bool(stability(value) or home == module.__name__)
        and "._private" not in home
    )


def shown(value: Any) -> str:
    """Return a default as text that is the same in each run."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, type) or callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return "..." if " at 0x" in text else text


def parameters(function: Any) -> list[list[str]]:
    """Return [name, kind, default] of each parameter; no default is ""."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    return [
        [
            each.name,
            each.kind.name.lower(),
            "" if each.default is each.empty else shown(each.default),
        ]
        for each in signature.parameters.values()
    ]


def fields(model: Any) -> dict[str, str]:
    """Return the fields of a pydantic model with their defaults; a required one has ""."""
    return {
        name: "" if field.is_required() else shown(field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
    }


def describe(value: Any) -> dict[str, Any]:
    """Return the facts about a class or function."""
    facts: dict[str, Any] = {"home": value.__module__, "stability": stability(value)}
    if not isinstance(value, type):
        return {**facts, "kind": "function", "parameters": parameters(value)}
    if issubclass(value, enum.Enum):
        return {
            **facts,
            "kind": "enum",
            "members": {each.name: shown(each.value) for each in value},
        }
    facts["methods"] = {
        name: parameters(getattr(value, name))
        for name in dir(value)
        if not name.startswith("_")
        and name not in getattr(value, "model_fields", ())
        and callable(getattr(value, name, None))
        and getattr(getattr(value, name), "__module__", "").startswith("ray.")
    }
    facts["attributes"] = sorted(
        name
        for name, each in inspect.getmembers(value, lambda each: isinstance(each, property))
        if not name.startswith(("_", "model_"))
    )
    if hasattr(value, "model_fields"):
        return {**facts, "kind": "model", "fields": fields(value)}
    kind = "exception" if issubclass(value, BaseException) else "class"
    return {**facts, "kind": kind, "parameters": parameters(value)}


def unimportable(name: str) -> list[str]:
    """Return `__all__` of a module whose own dependencies are missing here."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return []
    nodes = ast.parse(Path(spec.origin).read_text()).body
    for node in nodes:
        if isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets):
            return sorted(ast.literal_eval(node.value))
    return [
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]


def commands() -> dict[str, dict[str, list[str]]]:
    """Return the commands of the program `serve`: option names and arguments of each."""
    from ray.serve.scripts import cli  # noqa: TID251  read, never run

    return {
        name: {
            "options": sorted(
                text
                for each in command.params
                for text in [*each.opts, *each.secondary_opts]
                if text.startswith("-")
            ),
            "arguments": [
                each.name or "" for each in command.params if not each.opts[0].startswith("-")
            ],
        }
        for name, command in sorted(cli.commands.items())
    }


def surface() -> dict[str, Any]:
    """Return everything: modules with the names in them, facts by home, and commands."""
    import ray

    modules: dict[str, list[str]] = {}
    things: dict[str, Any] = {}
    for each in MODULES:
        path = f"ray.serve.{each}".rstrip(".")
        try:
            module = importlib.import_module(path)
        except Exception:  # an optional dependency that this environment lacks
            modules[each] = unimportable(path)
            continue
        modules[each] = sorted(name for name in dir(module) if is_api(module, name))
        for name in modules[each]:
            things.setdefault(name, describe(getattr(module, name)))
    return {
        "version": ray.__version__,
        "modules": modules,
        "names": dict(sorted(things.items())),
        "commands": commands(),
    }


if __name__ == "__main__":
    target = Path(__file__).with_name("surface.json")
    target.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
