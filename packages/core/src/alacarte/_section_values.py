"""Configuration: the sections of plugins, from arguments and the environment, validated.

The driver resolves all sections once (`resolve`); other processes get plain values, and build the
model of a section on first use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from ._plugins import Plugins, missing_package
from ._pydantic_errors import config_error
from .errors import ConfigError
from .foreign import load_target
from .types import ConfigSection, DeploymentId, DeploymentInfo

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Config",
    "SectionValues",
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
Config = Mapping[str, Mapping[str, Any]]
"""Plain values of a configuration, by section and field."""


class SectionValues:
    """The `ConfigSections` of an instance or a deployment, over plain values.

    Args:
        values: Plain values by section. An instance's section without values has its defaults; a
            deployment's is None, an option that is not set.
        scope: Whose sections these are.
    """

    def __init__(
        self,
        plugins: Plugins,
        values: Mapping[str, object],
        *,
        scope: Literal["instance", "deployment"] = "instance",
    ) -> None:
        self._plugins = plugins
        self._values = values
        self._scope = scope
        self._models: dict[str, BaseModel | None] = {}

    def section(self, name: str) -> Any:
        if name not in self._models:
            self._models[name] = self._build(name)
        return self._models[name]

    def _build(self, name: str) -> BaseModel | None:
        is_instance = self._scope == "instance"
        sections = (
            self._plugins.config_sections if is_instance else self._plugins.deployment_sections
        )
        section = sections.get(name)
        if section is None:
            raise ConfigError(
                f"no installed plugin provides the {self._scope} section {name!r}; there are "
                f"{sorted(sections)}."
            )
        values = self._values.get(name, {} if is_instance else None)
        return None if values is None else _validated(section, values)


def describe_deployment(
    deployment: DeploymentId, version: str, options: Mapping[str, object], plugins: Plugins
) -> DeploymentInfo:
    """Return the description of a deployment for plugins' hooks.

    Args:
        options: Plain values, by section.
    """
    sections = SectionValues(plugins, options, scope="deployment")
    return DeploymentInfo(deployment, version, sections)


def resolve(
    plugins: Plugins,
    arguments: Mapping[str, object],
    environment: Mapping[str, str] = os.environ,
    *,
    foreground: bool = False,
) -> dict[str, dict[str, object]]:
    """Return every section as validated plain values.

    Args:
        arguments: Arguments of `serve.start`, by keyword; each a mapping, the section's model, or
            None. They override the environment (`ALACARTE_HTTP__PORT`; objects and arrays as
            JSON), which overrides defaults.
        foreground: Use the sections' defaults for a program that stays in the foreground.

    Raises:
        ConfigError: A value is not allowed, or a field is unknown.
        PluginError: The package that provides a section is not installed.
    """
    sections = {keyword_of(section): section for section in plugins.config_sections.values()}
    values: dict[str, dict[str, object]] = {}
    for keyword, value in arguments.items():
        if keyword not in sections:
            if value is None:
                continue
            raise missing_package(keyword, f"serve.start({keyword}=...)")
    for keyword, section in sections.items():
        merged = dict(section.foreground) if foreground else {}
        merged.update(_from_environment(section, environment))
        merged.update(plain_options(keyword, arguments.get(keyword)))
        values[section.name] = _validated(section, merged).model_dump()
    return values


def keyword_of(section: ConfigSection) -> str:
    """Return the argument of `serve.start` or `serve.deployment` for a section."""
    default = section.name if section.scope == "deployment" else f"{section.name}_options"
    return section.keyword or default


def plain_options(keyword: str, value: object) -> dict[str, object]:
    """Return the fields that are set in an argument of `serve.start`."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):
        fields: dict[str, object] = value.model_dump(exclude_unset=True)
        return fields
    raise ConfigError(f"{keyword} must be a dict or the section's model, not {value!r}.")


def _from_environment(section: ConfigSection, environment: Mapping[str, str]) -> dict[str, object]:
    prefix = f"{_PREFIX}{section.name.upper()}__"
    return {
        (field := name.removeprefix(prefix).lower()): _from_text(section, field, name, value)
        for name, value in environment.items()
        if name.startswith(prefix)
    }


def _from_text(section: ConfigSection, field: str, variable: str, text: str) -> object:
    """Return the value of an environment variable: JSON where it is an object or an array.

    A field that takes strings gets the text unchanged.
    """
    if not text.lstrip().startswith(("{", "[")):
        return text
    info = section_model(section).model_fields.get(field)
    if info is None or str in _choices(info.annotation):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        # Without the text, which may contain a secret.
        raise ConfigError(f"the environment variable {variable} is not JSON: {error}.") from None


def _choices(annotation: object) -> tuple[object, ...]:
    """Return the members of a union, or an annotation that is not a union."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def secrets_in(plugins: Plugins, values: Config) -> dict[str, object]:
    """Return the secrets in a configuration, by "section.field".

    A secret is a field with `repr=False` in its section's model.
    """
    return {
        f"{name}.{field}": value
        for name, section in plugins.config_sections.items()
        for field, info in section_model(section).model_fields.items()
        if not info.repr and (value := values.get(name, {}).get(field)) is not None
    }


def without_secrets(values: Config, secrets: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return a configuration with None in place of its secrets."""
    return with_secrets(values, dict.fromkeys(secrets))


def with_secrets(values: Config, secrets: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return a configuration with secrets, by "section.field", set in it."""
    result = {name: dict(section) for name, section in values.items()}
    for path, value in secrets.items():
        section, _, field = path.partition(".")
        result[section][field] = value
    return result


def section_model(section: ConfigSection) -> type[BaseModel]:
    """Return the pydantic model of a section."""
    model: type[BaseModel] = load_target(section.target)
    return model


def _validated(section: ConfigSection, values: object) -> BaseModel:
    from pydantic import ValidationError  # heavy, and not needed in every replica

    model = section_model(section)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise config_error(keyword_of(section), error, model) from None
