"""Specifications of hooks: core's, and those that plugins add with `register_hooks`."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from .. import hookspecs, types
from ..errors import PluginError

__all__ = [
    "HookSpecification",
    "core_specifications",
    "implementations_in",
    "specifications_in",
    "wrong_options",
]

_MARKER = f"{hookspecs.PROJECT}_spec"
_IMPLEMENTATION = f"{hookspecs.PROJECT}_impl"


@dataclass(frozen=True)
class HookSpecification:
    """The specification of a hook.

    Attributes:
        name: Name of the hook.
        function: The marked function, with signature and docstring.
        module: Module of the function.
        plugin: The plugin that specifies the hook; "core" for alacarte's own hooks.
    """

    name: str
    function: Callable[..., object]
    module: ModuleType
    plugin: str

    @property
    def first_result(self) -> bool:
        """Whether the first value other than None is the hook's result."""
        return bool(getattr(self.function, _MARKER)["firstresult"])

    @property
    def registers(self) -> bool:
        """Whether the hook is called once, and returns a list of values."""
        return self.name.startswith("register_")

    @property
    def is_registry(self) -> bool:
        """Whether the hook's values have names that no two plugins may share."""
        return self.registers and self.name not in ("register_hooks", "register_modules")

    @cached_property
    def result(self) -> object:
        """The type of the value that an implementation must return.

        Raises:
            PluginError: The annotation cannot be resolved in the module of the hook.
        """
        try:
            # Specifications may import types for type checkers only.
            known = {**vars(types), **vars(self.module)}
            hints = typing.get_type_hints(_only_result(self.function), known)
        except Exception as error:  # a plugin's code
            raise PluginError(
                f"hook {self.name} of plugin {self.plugin}: its return annotation cannot be "
                f"resolved: {error}. Import its types in {self.module.__name__}."
            ) from error
        return hints.get("return", Any)


def _only_result(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function with the return annotation alone: arguments' types may not resolve."""

    def stub() -> None: ...

    annotations: Mapping[str, object] = getattr(function, "__annotations__", {})
    stub.__annotations__ = {k: v for k, v in annotations.items() if k == "return"}
    return stub


def core_specifications() -> dict[str, HookSpecification]:
    """Return core's own hooks, by name."""
    return specifications_in(hookspecs, "core")


def specifications_in(module: ModuleType, plugin: str) -> dict[str, HookSpecification]:
    """Return the hooks that a module specifies, by name."""
    return {
        name: HookSpecification(name, function, module, plugin)
        for name, function in vars(module).items()
        if hasattr(function, _MARKER)
    }


def implementations_in(plugin: object) -> dict[str, Mapping[str, object]]:
    """Return the options of each function of a plugin that is marked `@hookimpl`, by hook."""
    found: dict[str, Mapping[str, object]] = {}
    for name in dir(plugin):
        options = getattr(getattr(plugin, name, None), _IMPLEMENTATION, None)
        if isinstance(options, Mapping):
            found[str(options["specname"] or name)] = options
    return found


def wrong_options(specification: HookSpecification, options: Mapping[str, object]) -> str:
    """Return an error message for an option of `@hookimpl` that has no effect; "" for none.

    `tryfirst` and `trylast` order the calls of a hook. Registered values have no order, and
    stages order layers.
    """
    name = specification.name
    if options["hookwrapper"]:
        return f"{name}: hookwrapper=True is pluggy's old form; write wrapper=True"
    if options["wrapper"] and not specification.first_result:
        return f"{name}: wrapper=True is for hooks whose first result wins, such as make_handle"
    for option in ("tryfirst", "trylast"):
        if options[option] and specification.registers:
            return f"{name}: {option}=True has no effect, since registered values have no order"
        if options[option] and name.startswith("wrap_"):
            return f"{name}: {option}=True does not order layers; return a StagedLayer"
    return ""
