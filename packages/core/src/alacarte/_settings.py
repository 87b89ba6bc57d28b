"""Configuration: sections that plugins declare, from arguments and the environment, validated.

The driver resolves everything once (`resolve`); other processes get plain values and build a
section's model only when somebody asks for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from ._plugins import Plugins, missing_package
from ._pydantic_errors import config_error
from .errors import ConfigError
from .foreign import load_target
from .types import ConfigSection, DeploymentId, DeploymentInfo

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "ConfigValues",
    "OptionValues",
    "describe_deployment",
    "keyword_of",
    "plain_options",
    "resolve",
    "secrets_in",
    "section_model",
    "with_secrets",
    "without_secrets",
]

_PREFIX = "ALACARTE_"


class ConfigValues:
    """A `ConfigSections` over plain values."""

    def __init__(self, plugins: Plugins, values: Mapping[str, Any]) -> None:
        self._plugins = plugins
        self._values = values
        self._models: dict[str, Any] = {}

    def section(self, name: str) -> Any:
        if name not in self._models:
            section = self._plugins.config_sections.get(name)
            if section is None:
                raise ConfigError(
                    f"no installed plugin has a configuration section {name!r}; there are "
                    f"{sorted(self._plugins.config_sections)}."
                )
            self._models[name] = _validated(section, dict(self._values.get(name, {})))
        return self._models[name]


class OptionValues:
    """The options of one deployment: a `ConfigSections` over plain values."""

    def __init__(self, plugins: Plugins, values: Mapping[str, Any]) -> None:
        self._plugins = plugins
        self._values = values
        self._models: dict[str, Any] = {}

    def section(self, name: str) -> Any:
        if name not in self._models:
            section = self._plugins.deployment_sections.get(name)
            if section is None:
                raise ConfigError(
                    f"no installed plugin gives deployments a section {name!r}; there are "
                    f"{sorted(self._plugins.deployment_sections)}."
                )
            values = self._values.get(name)
            self._models[name] = (
                None if values is None else section_model(section).model_validate(values)
            )
        return self._models[name]


def describe_deployment(
    deployment: DeploymentId, version: str, options: Mapping[str, Any], plugins: Plugins
) -> DeploymentInfo:
    """Return a deployment as plugins see it.

    Args:
        options: Plain values, by section.
    """
    return DeploymentInfo(deployment, version, OptionValues(plugins, options))


def resolve(
    plugins: Plugins,
    given: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    *,
    foreground: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return every section as validated plain values.

    Args:
        given: By keyword of `serve.start`; each a mapping, the section's model, or None. They
            win over the environment (`ALACARTE_HTTP__PORT`; objects and arrays as JSON), which
            wins over defaults.
        foreground: Use the sections' defaults for a program that shows what happens.

    Raises:
        ConfigError: A value is not allowed, or a field is unknown.
        PluginError: The package that gives a section is not installed.
    """
    sections = {keyword_of(section): section for section in plugins.config_sections.values()}
    values: dict[str, dict[str, Any]] = {}
    for keyword, value in given.items():
        if keyword not in sections:
            if value is None:
                continue
            raise missing_package(keyword, f"serve.start({keyword}=...)")
    for keyword, section in sections.items():
        merged = dict(section.foreground) if foreground else {}
        merged.update(_from_environment(section, environment))
        merged.update(plain_options(keyword, given.get(keyword)))
        values[section.name] = _validated(section, merged).model_dump()
    return values


def keyword_of(section: ConfigSection) -> str:
    """Return the argument of `serve.start`, or of `serve.deployment`, that takes a section."""
    default = section.name if section.scope == "deployment" else f"{section.name}_options"
    return section.keyword or default


def plain_options(keyword: str, value: Any) -> dict[str, Any]:
    """Return what was given for an argument of `serve.start`, as a dict of what is set in it."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):
        fields: dict[str, Any] = value.model_dump(exclude_unset=True)
        return fields
    raise ConfigError(f"{keyword} must be a dict or the section's model, not {value!r}.")


def _from_environment(section: ConfigSection, environment: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"{_PREFIX}{section.name.upper()}__"
    return {
        (field := name.removeprefix(prefix).lower()): _from_text(section, field, name, value)
        for name, value in environment.items()
        if name.startswith(prefix)
    }


def _from_text(section: ConfigSection, field: str, variable: str, text: str) -> Any:
    """Return the value of an environment variable: JSON where it is an object or an array.

    A field that takes strings gets the text as it is.
    """
    if not text.lstrip().startswith(("{", "[")):
        return text
    info = section_model(section).model_fields.get(field)
    if info is None or str in _choices(info.annotation):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        # Without the text, which may be a secret.
        raise ConfigError(f"the environment variable {variable} is not JSON: {error}.") from None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or its only one."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def secrets_in(plugins: Plugins, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secrets that are set in a configuration, by "section.field".

    A secret is a field that its section's model declares with `repr=False`.
    """
    return {
        f"{name}.{field}": value
        for name, section in plugins.config_sections.items()
        for field, info in section_model(section).model_fields.items()
        if not info.repr and (value := values.get(name, {}).get(field)) is not None
    }


def without_secrets(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with None in place of its secrets."""
    return with_secrets(values, dict.fromkeys(secrets))


def with_secrets(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with secrets, by "section.field", in their places."""
    result = {name: dict(section) for name, section in values.items()}
    for path, value in secrets.items():
        section, _, field = path.partition(".")
        result[section][field] = value
    return result


def section_model(section: ConfigSection) -> type[BaseModel]:
    """Return the model that checks a section."""
    model: type[BaseModel] = load_target(section.target)
    return model


def _validated(section: ConfigSection, values: dict[str, Any]) -> Any:
    from pydantic import ValidationError  # heavy, and a replica may never get here

    model = section_model(section)
    try:
        return model(**values)
    except ValidationError as error:
        raise config_error(keyword_of(section), error, model) from None
