"""The options of a deployment, as users write them, and the config that they become.

An option that is not set is absent, which differs from None: `max_queued_requests=None` is an
error, and `user_config=None` is a value.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .._pydantic_errors import config_error
from ..errors import ConfigError, PluginError
from .names import check_name

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .._plugins import Plugins
    from ..config import DeploymentConfig, RayActorOptions
    from ..types import ConfigSection

__all__ = [
    "DeploymentOptions",
    "build_config",
    "build_options",
    "check_options",
    "merge_options",
    "option_sections",
]


class _CoreOptions(TypedDict, total=False):
    """Core's options of `serve.deployment`, with Ray Serve's names.

    Attributes:
        name: Defaults to the name of the class or function. Must not contain "#".
        routing_policy: Not in Ray Serve, which has `request_router_config`.
        placement: Not in Ray Serve, which reads it from an environment variable.

    `DeploymentConfig` describes all others.
    """

    name: str
    num_replicas: int | Literal["auto"] | None
    ray_actor_options: RayActorOptions | dict[str, Any] | None
    max_replicas_per_node: int | None
    user_config: Any
    max_ongoing_requests: int
    max_queued_requests: int
    graceful_shutdown_wait_loop_s: float
    graceful_shutdown_timeout_s: float
    health_check_period_s: float
    health_check_timeout_s: float
    max_constructor_retry_count: int
    start_timeout_s: float | None
    max_surge_percent: float
    rolling_update_percentage: float
    routing_policy: str | dict[str, Any]
    placement: Literal["spread", "pack"]
    placement_group_bundles: list[dict[str, float]] | None
    placement_group_strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] | None
    placement_group_bundle_label_selector: list[dict[str, str]] | None


class DeploymentOptions(_CoreOptions, total=False):
    """Options of `serve.deployment`, for type checkers and editors.

    The options of core and of first-party packages; an option is refused at run time when its
    package is not installed. Other plugins add options by configuration sections with
    `scope="deployment"`, which a typed program sets from a `dict[str, Any]`: `.options(**cached)`.

    Attributes:
        autoscaling_config: Option of alacarte-autoscaling: a dict, or its `AutoscalingConfig`.
    """

    autoscaling_config: Any


ALLOWED = tuple(_CoreOptions.__annotations__)

UNSUPPORTED = {
    "backpressure_config": "",
    "logging_config": "",
    "request_router_config": "name a policy with routing_policy; ",
    "gang_scheduling_config": "",
    "deployment_actors": "",
}
"""Ray Serve's options that alacarte lacks, each with a replacement, "" for none."""


def check_options(subject: str, options: Mapping[str, object]) -> DeploymentOptions:
    """Return the options that are set. Checks their names, and the value of `name` only.

    Raises:
        TypeError: An option is unknown, or the name is not a string.
        ConfigError: alacarte lacks an option of Ray Serve's, or the name is not allowed.
        PluginError: An option needs a package that is not installed.
    """
    others = [option for option in options if option not in ALLOWED]
    added = _added_options() if others else {}
    for option in others:
        if option not in added:
            _refuse(subject, option, options[option], [*ALLOWED, *added])
    if "name" in options:
        check_name("deployment name", options["name"], forbidden="#")
    unset_by_none = {"num_replicas", "ray_actor_options"}
    set_options = {
        option: value
        for option, value in options.items()
        if option in added
        or (option in ALLOWED and not (option in unset_by_none and value is None))
    }
    return typing.cast(DeploymentOptions, set_options)


def _refuse(subject: str, option: str, value: object, known: list[str]) -> None:
    """Raise the error for an option that neither core nor an installed plugin has."""
    allowed = f"allowed: {', '.join(known)}"
    if option == "version":
        raise ConfigError(
            f"{subject}: version is not an option; alacarte derives it from code and arguments"
        )
    from .._plugins import FIRST_PARTY_OPTIONS, missing_package  # imports asyncio

    if option in FIRST_PARTY_OPTIONS:
        raise missing_package(option, f"{subject}: the option {option}")
    if option not in UNSUPPORTED:
        close = difflib.get_close_matches(option, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise TypeError(f"{subject}: {option} is not an option{hint}; {allowed}")
    if value is not None:  # None is Ray Serve's default
        raise ConfigError(
            f"{subject}: {option} is not supported yet; {UNSUPPORTED[option]}{allowed}"
        )


def _added_options() -> dict[str, ConfigSection]:
    """Return the deployment sections of this process's plugins, by keyword."""
    from .. import plugins  # imports asyncio, which core's own options do not need

    return option_sections(plugins.load_plugins())


def option_sections(plugins: Plugins) -> dict[str, ConfigSection]:
    """Return plugins' deployment sections, by keyword.

    Raises:
        PluginError: A keyword is an option of core, or of two sections.
    """
    from .._section_values import keyword_of

    sections: dict[str, ConfigSection] = {}
    for section in plugins.deployment_sections.values():
        keyword = keyword_of(section)
        if keyword in ALLOWED or keyword == "version" or keyword in sections:
            other = sections[keyword].name if keyword in sections else "core"
            raise PluginError(
                f"the section {section.name!r} makes {keyword} an option of deployments, and "
                f"so does {other}; set another keyword for the section."
            )
        sections[keyword] = section
    return sections


def build_options(
    subject: str, options: DeploymentOptions, added: Mapping[str, ConfigSection] | None = None
) -> dict[str, BaseModel]:
    """Validate plugins' options by the models of their sections.

    None leaves an option unset.

    Args:
        subject: The deployment's name, for errors.
        options: Options that `check_options` has returned.
        added: Sections as from `option_sections`; by default those of this process's plugins.

    Returns:
        Validated models, by section.

    Raises:
        ConfigError: A value is not allowed. One line names the deployment, the option, its value,
            and the allowed values.
    """
    set_options = {k: v for k, v in options.items() if k not in ALLOWED and v is not None}
    is_auto = options.get("num_replicas") == "auto"
    if not set_options and not is_auto:
        return {}
    from pydantic import ValidationError  # as in `build_config`

    from .._section_values import section_model

    sections = dict(_added_options() if added is None else added)
    if is_auto:
        set_options = _with_auto(subject, set_options, sections)
    models: dict[str, BaseModel] = {}
    for keyword, value in set_options.items():
        section = sections[keyword]
        model = section_model(section)
        try:
            models[section.name] = model.model_validate(value).model_copy(deep=True)
        except ValidationError as error:
            raise config_error(subject, error, model, option=keyword) from None
    return models


def merge_options(old: DeploymentOptions, new: DeploymentOptions) -> DeploymentOptions:
    """Return `old` overridden by `new`, each option as a whole.

    A fixed number of replicas in `new` replaces autoscaling in `old`, and vice versa.
    """
    merged: dict[str, object] = {**old, **new}
    scaling = _scaling_option(merged)
    if "num_replicas" in new:
        if new["num_replicas"] != "auto" and scaling not in new:
            merged.pop(scaling, None)
    elif scaling in new:
        refined = old.get("num_replicas") == "auto" and merged[scaling] is not None
        if not refined:
            merged.pop("num_replicas", None)
    return typing.cast(DeploymentOptions, merged)


def _scaling_option(options: Mapping[str, object]) -> str:
    """Return the option that autoscales the number of replicas, "" for none."""
    if all(option in ALLOWED for option in options):
        return ""
    added = _added_options()
    scaling = (key for key in options if key in added and added[key].auto is not None)
    return next(scaling, "")


def _with_auto(
    subject: str, options: Mapping[str, object], sections: Mapping[str, ConfigSection]
) -> dict[str, object]:
    """Return the options, with the autoscaling option for `num_replicas="auto"`.

    Raises:
        PluginError: No installed plugin autoscales.
    """
    keyword = next((key for key, each in sections.items() if each.auto is not None), "")
    if not keyword:
        from .._plugins import missing_package

        raise missing_package("autoscaling_config", f'{subject}: num_replicas="auto"')
    value = options.get(keyword, {})
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        value = {**(sections[keyword].auto or {}), **value}
    return {**options, keyword: value}  # validation refuses values of other types


def build_config(subject: str, options: DeploymentOptions) -> DeploymentConfig:
    """Validate the values of core's options and add defaults.

    Raises:
        ConfigError: A value is not allowed. One line names the deployment, the option, its value,
            and the allowed values.
    """
    # pydantic is imported with the first declaration, not with the package: it takes longer to
    # load than all other imports of `from alacarte import serve`.
    from pydantic import ValidationError

    from ..config import DeploymentConfig

    values: dict[str, Any] = {k: v for k, v in options.items() if k in ALLOWED and k != "name"}
    replicas = values.get("num_replicas")
    if replicas == "auto":
        del values["num_replicas"]
    elif isinstance(replicas, str) and not _is_number(replicas):
        raise ConfigError(f'{subject}: num_replicas={replicas!r} must be a number or "auto"')
    elif replicas is not None:
        scaling = _scaling_option({k: v for k, v in options.items() if v is not None})
        if scaling:
            raise ConfigError(
                f"{subject}: num_replicas={replicas!r} and {scaling} exclude each other; leave one "
                'out, or set num_replicas="auto"'
            )
    try:
        return DeploymentConfig(**values)
    except ValidationError as error:
        raise config_error(subject, error, DeploymentConfig) from None


def _is_number(text: str) -> bool:
    """Return whether pydantic parses a string as a whole number, as from the command line."""
    try:
        return float(text).is_integer()
    except ValueError:
        return False
