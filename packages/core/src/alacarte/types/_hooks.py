"""How a plugin asks the hooks that it brings."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class HookResult(NamedTuple):
    """What one plugin returned.

    Attributes:
        plugin: Its name.
        value: As the hook's signature says; never None.
    """

    plugin: str
    value: Any


class Failures(Protocol):
    """Keeps what plugins fail at: logged once with the plugin's name, shown by `serve.status()`."""

    def note(self, plugin: str, hook: str, error: BaseException, subject: str = "") -> None:
        """Keep a failure, and log the first of its kind. From any thread.

        Args:
            plugin: Name of the plugin whose code raised, or returned something wrong.
            hook: The hook, or the thing that it gave: `wrap_http`.
            subject: What the plugin was asked for: "deployment 'app#Model'".
        """


class Hooks(Protocol):
    """The hooks of one process, for plugins that bring some. Ask at the start, never per request.

    Attributes:
        failures: Where to keep what fails later, such as a layer.
    """

    @property
    def failures(self) -> Failures: ...

    def implements(self, hook: str) -> bool:
        """Return whether some plugin implements a hook."""

    def call(self, hook: str, *, subject: str = "", **given: Any) -> list[HookResult]:
        """Ask each plugin that implements a hook; return what they gave, None left out.

        In the order of plugin names, those with `tryfirst` first.

        Args:
            hook: Name of a hook.
            subject: What the hook is called for: "replica r1". With it, a failure is kept, too.
            given: Every argument of the hook, by name.

        Raises:
            PluginError: A plugin raised, or returned a value of another type. It is named.
        """

    def call_robust(self, hook: str, *, subject: str = "", **given: Any) -> list[HookResult]:
        """Do as `call`, but go on without a plugin that fails, and keep its failure.

        Args:
            subject: What the hook is called for, for the failure: "replica r1".
        """

    def registered(self, hook: str) -> dict[str, Any]:
        """Return the values that plugins register with a `register_*` hook, by their names.

        Raises:
            PluginError: Two plugins give one name; or, in a process of an instance, one failed.
        """
