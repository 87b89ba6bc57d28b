"""The sections of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class ConfigSection:
    """A plugin's part of the configuration.

    Attributes:
        name: The section's key in a configuration file, and its prefix in the environment:
            `http` is read from `ALACARTE_HTTP__PORT` and so on.
        target: `"module:attribute"` of a frozen pydantic model. A field that it declares with
            `repr=False` is a secret, and never stored.
        keyword: The argument of `serve.start` that takes it; `<name>_options` by default.
        foreground: Other defaults for a program that stays and shows what happens, such as
            `alacarte run`: `{"access_log": "text"}`.
    """

    name: str
    target: str
    keyword: str = ""
    foreground: Mapping[str, Any] = field(default_factory=dict)


class ConfigSections(Protocol):
    """The configuration this instance was started with, by section."""

    def section(self, name: str) -> Any:
        """Return the validated section a plugin registered under this name.

        Raises:
            ConfigError: No installed plugin registers such a section.
        """
