"""The dispatcher that calls the hooks of plugins, and checks and contains their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pluggy

from ..errors import PluginError, ServeError
from ..foreign import is_interrupt
from ..types import HookResult
from .hook_call import hook_call
from .plugin_failures import PluginFailures
from .results import mismatch
from .specifications import HookSpecification

__all__ = ["HookDispatcher"]


class HookDispatcher:
    """Calls of hooks of one process's plugins.

    Attributes:
        specifications: All hooks, by name.
        failures: Failures of plugins in this process.
    """

    def __init__(
        self, manager: pluggy.PluginManager, specifications: Mapping[str, HookSpecification]
    ) -> None:
        self._manager = manager
        self.specifications = specifications
        self.failures = PluginFailures()

    def implements(self, hook: str) -> bool:
        """Return whether any plugin implements a hook."""
        return bool(self._hook(hook).get_hookimpls())

    def implementers(self, hook: str) -> list[str]:
        """Return the names of the plugins that implement a hook, in the order of their calls."""
        return [plugin for plugin, _ in self._implementations(hook)]

    def call(self, hook: str, *, subject: str = "", **arguments: object) -> list[HookResult]:
        """Call a hook of each plugin that implements it; return their values other than None.

        In the order of plugin names, plugins with `tryfirst` first.

        Args:
            hook: Name of a hook, core's or a plugin's.
            subject: The object that the hook is called for: "replica r1". With a subject, a
                failure is recorded, too.
            arguments: Every argument of the hook, by name.

        Raises:
            PluginError: A plugin raised, or returned a value of a wrong type. Names the plugin.
        """
        return self._results(hook, subject, arguments, robust=False)

    def call_robust(self, hook: str, *, subject: str = "", **arguments: object) -> list[HookResult]:
        """Call a hook as `call` does, but record the failure of a plugin and continue.

        Args:
            subject: The object that the hook is called for: "replica r1".
        """
        return self._results(hook, subject, arguments, robust=True)

    def _results(
        self, hook: str, subject: str, arguments: Mapping[str, object], *, robust: bool
    ) -> list[HookResult]:
        """Call a hook of each plugin; at a failure continue if `robust`, otherwise raise."""
        results = []
        for plugin, implementation in self._implementations(hook):
            try:
                value = self._answer(plugin, hook, implementation, arguments)
            except PluginError as error:
                if robust or subject:
                    self.failures.note(plugin, hook, error.__cause__ or error, subject)
                if robust:
                    continue
                raise
            if value is not None:
                results.append(HookResult(plugin, value))
        return results

    def _hook(self, name: str) -> pluggy.HookCaller:
        hook: pluggy.HookCaller | None = getattr(self._manager.hook, name, None)
        if hook is None or name not in self.specifications:
            raise PluginError(
                f"no plugin specifies a hook {name!r}; known hooks: {list(self.specifications)}"
            )
        return hook

    def _implementations(self, hook: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield each plugin that implements a hook, and its implementation, in call order."""
        for implementation in reversed(self._hook(hook).get_hookimpls()):
            yield str(implementation.plugin_name), _by_name(implementation)

    def _answer(
        self,
        plugin: str,
        hook: str,
        implementation: Callable[..., object],
        arguments: Mapping[str, object],
    ) -> Any:
        """Call an implementation of a hook, and return its value after a check of the type."""
        try:
            with hook_call(f"plugin {plugin} called get_runtime() in {hook}"):
                value = implementation(**arguments)
        except BaseException as error:  # foreign code
            # A check raises the error that the user reads.
            if is_interrupt(error) or (hook.startswith("check_") and isinstance(error, ServeError)):
                raise
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {type(error).__name__}: {error}"
            ) from error
        wrong = mismatch(value, self.specifications[hook].result)
        if wrong:
            cause = TypeError(f"it returned {wrong}")
            raise PluginError(f"plugin {plugin}: {hook} returned {wrong}.") from cause
        return value

    def _first(self, hook: str, **arguments: object) -> Any:
        """Call a hook whose first result wins, wrappers included."""
        try:
            return self._hook(hook)(**arguments)
        except ServeError:
            raise
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            plugin = _raised_by(self._hook(hook).get_hookimpls(), error)
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {type(error).__name__}: {error}"
            ) from error


def _by_name(implementation: pluggy.HookImpl) -> Callable[..., object]:
    """Return a function that passes an implementation those arguments that it names."""
    function, names = implementation.function, implementation.argnames
    return lambda **arguments: function(*(arguments[name] for name in names))


def _raised_by(implementations: Iterable[pluggy.HookImpl], error: BaseException) -> str:
    """Return the plugin of the innermost implementation in an error's traceback."""
    codes = {
        getattr(each.function, "__code__", None): str(each.plugin_name) for each in implementations
    }
    found, frame = "?", error.__traceback__
    while frame is not None:
        found = codes.get(frame.tb_frame.f_code, found)
        frame = frame.tb_next
    return found
