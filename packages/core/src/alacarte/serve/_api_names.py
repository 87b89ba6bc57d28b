"""Names that plugins provide in the facade and its submodules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._plugins import FIRST_PARTY, missing_package
from ..errors import PluginError
from ..foreign import load_target
from ..plugins import load_plugins

__all__ = ["MissingPackageError", "module_getattr", "plugin_names", "resolve_name"]


class MissingPackageError(PluginError, ImportError):
    """The package that provides a name is not installed.

    Also an ImportError, so that `from alacarte.serve import batch` raises it unchanged.
    """


def resolve_name(name: str) -> Any:
    """Return the object that a plugin registered under a name of `alacarte.serve`.

    Raises:
        MissingPackageError: The package that provides the name is not installed.
        AttributeError: No package provides the name.
    """
    api = load_plugins().api.get(name)
    if api is None:
        if name in FIRST_PARTY:
            raise MissingPackageError(str(missing_package(name, f"serve.{name}")))
        raise AttributeError(
            f"alacarte.serve has no attribute {name!r}, and no installed plugin provides it."
        )
    return load_target(api.target)


def plugin_names(module: str) -> list[str]:
    """Return plugins' names in a submodule of the facade, "" for the facade itself."""
    prefix = f"{module}." if module else ""
    names = [name for name in load_plugins().api if name.startswith(prefix)]
    return [name.removeprefix(prefix) for name in names if "." not in name.removeprefix(prefix)]


def module_getattr(module: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a submodule whose names plugins provide."""

    def __getattr__(name: str) -> Any:  # noqa: N807  it becomes the module's
        if name.startswith("__"):
            raise AttributeError(f"module 'alacarte.serve.{module}' has no attribute {name!r}")
        return resolve_name(f"{module}.{name}")

    return __getattr__
