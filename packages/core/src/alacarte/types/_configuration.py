"""Sections of the configuration, and user code within them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class ConfigSection:
    """A plugin's section of the configuration, for the instance or for each deployment.

    Attributes:
        name: The section's key in a configuration file, and its prefix in the environment:
            `http` is read from `ALACARTE_HTTP__PORT` and so on.
        target: `"module:attribute"` of a frozen pydantic model. A field declared with
            `repr=False` is a secret and never stored; options of deployments have no secrets.
        keyword: The argument that sets the section: of `serve.start`, `<name>_options` by default;
            of `serve.deployment`, the section's name by default.
        foreground: Other defaults for a program that stays in the foreground, such as
            `alacarte run`: `{"access_log": "text"}`. For sections of the instance.
        scope: `"instance"`, or `"deployment"` for an option of `serve.deployment` and `.options`,
            which plugins read with `DeploymentInfo.options`.
        change: The effect of a change of a deployment's option: `"in_place"` builds layers again
            in running processes, `"new_version"` replaces the replicas.
        prepare: `"module:attribute"` of a function that the driver calls with the deployment's
            name and the model when an application is built; the function returns the model to
            deploy. "" for no function.
        auto: For the option that a `Scaler` follows: the values that `num_replicas="auto"` sets
            where the user sets none. Such an option excludes a fixed `num_replicas`, and only the
            controller sees it: it is absent in replicas and in processes that call. None for any
            other option.
        visible_to: `"replicas"` hides a deployment's option from processes that call, proxies
            included: `DeploymentInfo.options` returns None there, for routing policies too. The
            options that these processes see take at most 64 KiB pickled, without bytes of code.
    """

    name: str
    target: str
    keyword: str = ""
    foreground: Mapping[str, object] = field(default_factory=dict)
    scope: Literal["instance", "deployment"] = "instance"
    change: Literal["in_place", "new_version"] = "in_place"
    prepare: str = ""
    auto: Mapping[str, object] | None = None
    visible_to: Literal["all", "replicas"] = "all"

    @property
    def qualified_name(self) -> str:
        """The name of the section, unique among sections of both scopes."""
        return self.name if self.scope == "instance" else f"{self.name} (of deployments)"


@dataclass(frozen=True)
class UserCode:
    """A pickled function or class within a deployment's option.

    Replaces the function in the values that leave the driver, so that the controller unpickles no
    user code. A model with such a field must accept a `UserCode` too.

    Attributes:
        name: `"module:qualname"` of the function or class.
        code: The function or class as cloudpickle bytes; b"" in proxies and other processes that
            call, which get the other attributes.
        import_paths: The entries of `sys.path` that the code needs.
        digest: SHA-256 of the code, computed by default. Tells functions of the same name apart.
    """

    name: str
    code: bytes = field(repr=False)
    import_paths: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.code).hexdigest())

    def without_code(self) -> UserCode:
        """Return a copy without the code; the digest still identifies the function."""
        return replace(self, code=b"")


class ConfigSections(Protocol):
    """Validated sections: the configuration of the instance, or the options of a deployment."""

    def section(self, name: str) -> Any:
        """Return the validated section that a plugin registered under this name.

        Raises:
            ConfigError: No installed plugin registers such a section.
        """
