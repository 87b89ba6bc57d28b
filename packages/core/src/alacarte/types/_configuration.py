"""The sections of the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class ConfigSection:
    """A plugin's part of the configuration: of the instance, or of each deployment.

    Attributes:
        name: The section's key in a configuration file, and its prefix in the environment:
            `http` is read from `ALACARTE_HTTP__PORT` and so on.
        target: `"module:attribute"` of a frozen pydantic model. A field that it declares with
            `repr=False` is a secret, and never stored; options of deployments have no secrets.
        keyword: The argument that takes it: of `serve.start`, `<name>_options` by default; of
            `serve.deployment`, the section's name by default.
        foreground: Other defaults for a program that stays and shows what happens, such as
            `alacarte run`: `{"access_log": "text"}`. For sections of the instance.
        scope: `"instance"`, or `"deployment"` for an option of `serve.deployment` and `.options`,
            which plugins read with `DeploymentInfo.options`.
        change: What a change of a deployment's option does: `"in_place"` builds layers again in
            processes that run, `"new_version"` replaces the replicas.
        prepare: `"module:attribute"` of a function that is called with the deployment's name and
            the model, in the driver, when an application is built; it returns the model to
            deploy. "" for none.
        auto: For the option that a `Scaler` follows: what `num_replicas="auto"` sets in it, where
            the option is not given or says less. It excludes a fixed `num_replicas`, and the
            controller alone sees it: it is absent in replicas and in processes that call. None for
            any other option.
        visible_to: `"replicas"` keeps a deployment's option from processes that call, proxies
            included: `DeploymentInfo.options` returns None there, for routing policies too. The
            options that they do see take 64 KiB at most, pickled, and hold no bytes of code.
    """

    name: str
    target: str
    keyword: str = ""
    foreground: Mapping[str, Any] = field(default_factory=dict)
    scope: Literal["instance", "deployment"] = "instance"
    change: Literal["in_place", "new_version"] = "in_place"
    prepare: str = ""
    auto: Mapping[str, Any] | None = None
    visible_to: Literal["all", "replicas"] = "all"

    @property
    def qualified_name(self) -> str:
        """Unique among sections of both scopes."""
        return self.name if self.scope == "instance" else f"{self.name} (of deployments)"


@dataclass(frozen=True)
class UserCode:
    """A function or class within a deployment's option, on its way to where it may be loaded.

    It stands in place of the function in the values that leave the driver, so that the controller
    unpickles no user code. A model with such a field accepts a `UserCode`, too.

    Attributes:
        name: `"module:qualname"` of the function or class.
        code: The function or class as cloudpickle bytes; b"" in processes that call and in
            proxies, which get the rest.
        import_paths: The entries of `sys.path` that the code needs.
        digest: Of the code; computed where it is not given. Another function of the same name has
            another one.
    """

    name: str
    code: bytes = field(repr=False)
    import_paths: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.code).hexdigest())

    def without_code(self) -> UserCode:
        """Return the same without its bytes; the digest still tells another function."""
        return replace(self, code=b"")


class ConfigSections(Protocol):
    """Validated sections: the configuration of the instance, or the options of a deployment."""

    def section(self, name: str) -> Any:
        """Return the validated section a plugin registered under this name.

        Raises:
            ConfigError: No installed plugin registers such a section.
        """
