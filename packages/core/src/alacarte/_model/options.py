"""The options of a deployment as users write them, and the config they come down to.

An option that was not given is absent, which is not the same as None: `max_queued_requests=None`
is an error, and `user_config=None` is a value.
"""

from __future__ import annotations

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
    """Options of `serve.deployment` that core brings, by the names Ray Serve gives them.

    Attributes:
        name: The class's or function's own name when absent. Must not contain "#".
        routing_policy: Not in Ray Serve, which has `request_router_config`.
        placement: Not in Ray Serve, which reads it from an environment variable.

    All others are described at `DeploymentConfig`.
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

    Those of core, and those that our packages bring: each is refused at run time where its package
    is not installed. Plugins of others add further ones, sections of the configuration with
    `scope="deployment"`, which a typed program sets from a `dict[str, Any]`: `.options(**cached)`.

    Attributes:
        autoscaling_config: Brought by alacarte-autoscaling: a dict, or its `AutoscalingConfig`.
    """

    autoscaling_config: Any


ALLOWED = tuple(_CoreOptions.__annotations__)

# Ray Serve has these. The text says what to use instead, where there is something.
UNSUPPORTED = {
    "backpressure_config": "",
    "logging_config": "",
    "request_router_config": "name a policy with routing_policy; ",
    "gang_scheduling_config": "",
    "deployment_actors": "",
}


def check_options(subject: str, given: Mapping[str, Any]) -> DeploymentOptions:
    """Return the options that were really given; their values are not looked at, but for `name`.

    Raises:
        TypeError: An option nobody knows, or a name that is not a string.
        ConfigError: An option of Ray Serve's that alacarte does not have, or a bad name.
        PluginError: An option of a package that is not installed.
    """
    others = [option for option in given if option not in ALLOWED]
    added = _added_options() if others else {}
    for option in others:
        if option not in added:
            _refuse(subject, option, given[option], [*ALLOWED, *added])
    if "name" in given:
        check_name("deployment name", given["name"], forbidden="#")
    unset_by_none = {"num_replicas", "ray_actor_options"}
    kept = {
        option: value
        for option, value in given.items()
        if option in added
        or (option in ALLOWED and not (option in unset_by_none and value is None))
    }
    return typing.cast(DeploymentOptions, kept)


def _refuse(subject: str, option: str, value: Any, options: list[str]) -> None:
    """Raise the error for an option that neither core nor an installed plugin has."""
    allowed = f"allowed: {', '.join(options)}"
    if option == "version":
        raise ConfigError(
            f"{subject}: version is not an option; versions follow from code and arguments"
        )
    from .._plugins import FIRST_PARTY_OPTIONS, missing_package  # asyncio comes with them

    if option in FIRST_PARTY_OPTIONS:
        raise missing_package(option, f"{subject}: the option {option}")
    if option not in UNSUPPORTED:
        raise TypeError(f"{subject}: {option} is not an option; {allowed}")
    if value is not None:  # None is Ray Serve's way to ask for nothing here.
        raise ConfigError(
            f"{subject}: {option} is not supported yet; {UNSUPPORTED[option]}{allowed}"
        )


def _added_options() -> dict[str, ConfigSection]:
    """Return the sections that this process's plugins give deployments, by their keywords."""
    from .. import plugins  # asyncio comes with them, and core's own options need neither

    return option_sections(plugins.load_plugins())


def option_sections(plugins: Plugins) -> dict[str, ConfigSection]:
    """Return the sections that plugins give deployments, by their keywords.

    Raises:
        PluginError: A keyword is an option of core's, or of two sections.
    """
    from .._settings import keyword_of

    sections: dict[str, ConfigSection] = {}
    for section in plugins.deployment_sections.values():
        keyword = keyword_of(section)
        if keyword in ALLOWED or keyword == "version" or keyword in sections:
            other = sections[keyword].name if keyword in sections else "core"
            raise PluginError(
                f"the section {section.name!r} makes {keyword} an option of deployments, and "
                f"so does {other}; give it another keyword."
            )
        sections[keyword] = section
    return sections


def build_options(
    subject: str, options: DeploymentOptions, added: Mapping[str, ConfigSection] | None = None
) -> dict[str, BaseModel]:
    """Validate the options that plugins give, by the models of their sections; see `check_options`.

    None leaves an option unset.

    Args:
        subject: The deployment's name, for errors.
        added: As `option_sections` returns them; those of this process's plugins by default.

    Returns:
        Validated models, by section.

    Raises:
        ConfigError: In one line: the deployment, the option, its value, and what is allowed.
    """
    given = {k: v for k, v in options.items() if k not in ALLOWED and v is not None}
    is_auto = options.get("num_replicas") == "auto"
    if not given and not is_auto:
        return {}
    from pydantic import ValidationError  # as in `build_config`

    from .._settings import section_model

    sections = dict(_added_options() if added is None else added)
    if is_auto:
        given = _with_auto(subject, given, sections)
    models: dict[str, BaseModel] = {}
    for keyword, value in given.items():
        section = sections[keyword]
        model = section_model(section)
        try:
            models[section.name] = model.model_validate(value).model_copy(deep=True)
        except ValidationError as error:
            raise config_error(subject, error, model, option=keyword) from None
    return models


def merge_options(old: DeploymentOptions, new: DeploymentOptions) -> DeploymentOptions:
    """Return `old` overridden by `new`, each option as a whole.

    The later of a fixed number of replicas and autoscaling wins.
    """
    merged: dict[str, Any] = {**old, **new}
    scaling = _scaling_option(merged)
    if "num_replicas" in new:
        if new["num_replicas"] != "auto" and scaling not in new:
            merged.pop(scaling, None)
    elif scaling in new:
        refined = old.get("num_replicas") == "auto" and merged[scaling] is not None
        if not refined:
            merged.pop("num_replicas", None)
    return typing.cast(DeploymentOptions, merged)


def _scaling_option(options: Mapping[str, Any]) -> str:
    """Return which of the given options decides the number of replicas, "" for none."""
    if all(option in ALLOWED for option in options):
        return ""
    added = _added_options()
    scaling = (key for key in options if key in added and added[key].auto is not None)
    return next(scaling, "")


def _with_auto(
    subject: str, given: Mapping[str, Any], sections: Mapping[str, ConfigSection]
) -> dict[str, Any]:
    """Return the given options, with what `num_replicas="auto"` stands for.

    Raises:
        PluginError: No installed plugin decides the number of replicas.
    """
    keyword = next((key for key, each in sections.items() if each.auto is not None), "")
    if not keyword:
        from .._plugins import missing_package

        raise missing_package("autoscaling_config", f'{subject}: num_replicas="auto"')
    value = given.get(keyword, {})
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        value = {**(sections[keyword].auto or {}), **value}
    return {**given, keyword: value}  # a value of another type is refused by validation


def build_config(subject: str, options: DeploymentOptions) -> DeploymentConfig:
    """Validate the values of options and fill in defaults.

    Raises:
        ConfigError: In one line: the deployment, the option, its value, and what is allowed.
    """
    # pydantic is imported when a deployment is declared, not with the package: it takes longer
    # to load than everything else `from alacarte import serve` needs.
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
    """Whether pydantic takes a text for a number; the command line gives builders texts."""
    try:
        return float(text).is_integer()
    except ValueError:
        return False
