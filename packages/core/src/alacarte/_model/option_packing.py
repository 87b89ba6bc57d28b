"""Packing of plugins' options of deployments, to send them to other processes.

Options are sent as plain values, with `UserCode` in place of functions and classes. Each process
builds the models again when a plugin reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._plugins import Plugins
from .._section_values import keyword_of, section_model
from ..errors import ConfigError, ServeError
from ..foreign import describe_error, load_target
from ..types import ConfigSection, UserCode
from .pickling import Identify, dump

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["new_version_values", "pack_options", "prepare_options"]

Models = Mapping[str, "BaseModel"]
"""The options of one deployment: validated models, by section."""


def prepare_options(subject: str, models: Models, plugins: Plugins) -> dict[str, BaseModel]:
    """Return the models to deploy, after the `prepare` functions of their sections.

    Raises:
        ConfigError: A plugin refuses a value.
    """
    prepared: dict[str, BaseModel] = {}
    for name, model in models.items():
        section = plugins.deployment_sections[name]
        prepared[name] = _prepared(subject, section, model) if section.prepare else model
    return prepared


def _prepared(subject: str, section: ConfigSection, model: BaseModel) -> BaseModel:
    try:
        result = load_target(section.prepare)(subject, model)
    except ServeError:
        raise
    except Exception as error:  # foreign code
        raise ConfigError(
            f"{subject}: {keyword_of(section)} could not be prepared: {describe_error(error)}"
        ) from error
    expected = section_model(section)
    if not isinstance(result, expected):
        raise ConfigError(
            f"{subject}: {section.prepare} returned {result!r} instead of a {expected.__name__}."
        )
    return result


def new_version_values(models: Models, plugins: Plugins) -> dict[str, object]:
    """Return the plain values of the options whose changes replace replicas, by section."""
    return {
        name: model.model_dump(exclude_unset=True)
        for name, model in sorted(models.items())
        if plugins.deployment_sections[name].change == "new_version"
    }


def pack_options(
    subject: str, models: Models, identify: Identify, import_paths: tuple[str, ...] = ()
) -> dict[str, object]:
    """Return options as plain values by section, with `UserCode` for functions and classes.

    Args:
        subject: The deployment's name, for errors.
        identify: As for the deployment's own code.
        import_paths: Entries of `sys.path` that the code needs.

    Raises:
        ConfigError: A function cannot be pickled.
    """

    def pack(code: object) -> UserCode:
        named = code if hasattr(code, "__qualname__") else type(code)
        name = f"{named.__module__}:{named.__qualname__}"
        try:
            return UserCode(name, dump(code, identify), import_paths)
        except Exception as error:  # pickling runs the user's own methods, which raise anything
            raise ConfigError(
                f"{subject}: {name}, the value of an option, cannot be sent to other processes "
                f"({describe_error(error)}). Create objects that do not pickle inside of it."
            ) from error

    return {
        name: _packed(model.model_dump(exclude_unset=True), pack) for name, model in models.items()
    }


def _packed(value: Any, pack: Callable[[object], UserCode]) -> Any:
    if isinstance(value, dict):
        return {key: _packed(each, pack) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_packed(each, pack) for each in value)
    return pack(value) if callable(value) else value
