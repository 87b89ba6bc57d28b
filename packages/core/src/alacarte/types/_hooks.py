"""Hooks of a process, for plugins that specify hooks of their own."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class HookResult(NamedTuple):
    """The result of a hook in one plugin.

    Attributes:
        plugin: The name of the plugin.
        value: The returned value, of the type in the hook's signature; never None.
    """

    plugin: str
    value: Any


class Failures(Protocol):
    """Failures of plugins: each logged once with the plugin's name, and in `serve.status()`."""

    def note(self, plugin: str, hook: str, error: BaseException, subject: str = "") -> None:
        """Record a failure, and log the first failure of its kind. From any thread.

        Args:
            plugin: Name of the plugin whose code raised, or returned an invalid value.
            hook: The hook, or the object that the hook returned: `wrap_http`.
            subject: The subject of the hook's call: "deployment 'app#Model'".
        """


class Hooks(Protocol):
    """The hooks of one process. Call hooks when a process or replica starts, never per request.

    Attributes:
        failures: Records failures of the returned objects, such as layers.
    """

    @property
    def failures(self) -> Failures:
        """The record of plugins' failures."""

    def implements(self, hook: str) -> bool:
        """Return whether some plugin implements a hook."""

    def call(self, hook: str, *, subject: str = "", **given: object) -> list[HookResult]:
        """Call a hook in each plugin that implements it; return the results that are not None.

        In the order of plugin names, implementations with `tryfirst` first.

        Args:
            hook: Name of a hook.
            subject: The subject of the call: "replica r1". A failure is recorded where it is given.
            given: Every argument of the hook, by name.

        Raises:
            PluginError: A plugin raised, or returned a value of another type. The message names
                the plugin.
        """

    def call_robust(self, hook: str, *, subject: str = "", **given: object) -> list[HookResult]:
        """Call a hook as `call` does, but record the failure of a plugin and go on.

        Args:
            subject: The subject of the call, for the recorded failure: "replica r1".
        """

    def registered(self, hook: str) -> dict[str, Any]:
        """Return the values that plugins register with a `register_*` hook, by their names.

        Raises:
            PluginError: Two plugins register the same name; or, in a process of an instance, a
                plugin failed.
        """
