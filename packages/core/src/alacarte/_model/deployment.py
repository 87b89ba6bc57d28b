"""Deployments, which `@serve.deployment` makes, and applications, which `bind` makes of them.

Light on purpose: a program that only declares deployments imports no heavy module.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, overload

from ..errors import ConfigError
from .options import (
    DeploymentOptions,
    build_config,
    build_options,
    check_options,
    merge_options,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..config import DeploymentConfig

__all__ = ["Application", "Deployment", "deployment"]

Target = Callable[..., object]
"""A class, or a function."""


@overload
def deployment(func_or_class: Target, /, **options: Unpack[DeploymentOptions]) -> Deployment: ...


@overload
def deployment(
    func_or_class: None = None, /, **options: Unpack[DeploymentOptions]
) -> Callable[[Target], Deployment]: ...


def deployment(
    func_or_class: Target | None = None, /, **options: object
) -> Deployment | Callable[[Target], Deployment]:
    """Declare a class or function as a deployment; use bare or with options.

    The options have Ray Serve's names and defaults; plugins add options. `num_replicas="auto"`
    means autoscaling between 1 and 100 replicas with a target of 2 requests each, where
    `autoscaling_config` does not set other values; `num_replicas=None` means the default.

    Raises:
        TypeError: The target is neither class nor function, or an option is unknown.
        ConfigError: A value is not allowed, or an option of Ray Serve's is not supported.
        PluginError: An option needs a package that is not installed.
    """

    def decorate(func_or_class: Target) -> Deployment:
        return Deployment(func_or_class, options)

    return decorate if func_or_class is None else decorate(func_or_class)


class Deployment:
    """A class or function with the options of its replicas. Immutable; see `options`."""

    def __init__(
        self, func_or_class: Target, options: Mapping[str, Any], *, default_name: str = ""
    ) -> None:
        if not (inspect.isclass(func_or_class) or inspect.isfunction(func_or_class)):
            raise TypeError(
                f"a deployment must be made of a class or a function, not of {func_or_class!r}"
            )
        default_name = default_name or func_or_class.__name__
        set_options = check_options(options.get("name", default_name), options)
        self._func_or_class = func_or_class
        self._name = set_options.get("name", default_name)
        # Copies, so that later changes of the user's dicts do not change the deployment.
        self._config = build_config(self._name, set_options).model_copy(deep=True)
        self._set_options = copy.deepcopy(set_options)
        self._plugin_options = build_options(self._name, set_options)
        self._init_args: tuple[object, ...] = ()
        self._init_kwargs: dict[str, object] = {}

    @property
    def name(self) -> str:
        """The name of the deployment; `build_application` makes names unique in an application."""
        return self._name

    @property
    def func_or_class(self) -> Target:
        """The user's class or function, before decoration."""
        return self._func_or_class

    @property
    def is_function(self) -> bool:
        """Whether requests call a function rather than an instance of a class."""
        return not inspect.isclass(self._func_or_class)

    @property
    def config(self) -> DeploymentConfig:
        """Core's options, validated, with defaults."""
        return self._config

    @property
    def plugin_options(self) -> Mapping[str, BaseModel]:
        """The options that plugins provide: validated models, by section."""
        return self._plugin_options

    @property
    def num_replicas(self) -> int:
        """The number of replicas; has no effect under autoscaling."""
        return self._config.num_replicas

    @property
    def user_config(self) -> Any:
        """The argument of the replicas' `reconfigure`."""
        return self._config.user_config

    @property
    def max_ongoing_requests(self) -> int:
        """The number of requests that a replica handles at a time."""
        return self._config.max_ongoing_requests

    @property
    def max_queued_requests(self) -> int:
        """The number of requests that may wait in each calling process, -1 for no limit."""
        return self._config.max_queued_requests

    @property
    def ray_actor_options(self) -> dict[str, Any]:
        """The options that the user has set for the replica's process, and `num_cpus`."""
        options = self._config.ray_actor_options
        return {"num_cpus": options.num_cpus, **options.model_dump(exclude_unset=True)}

    @property
    def init_args(self) -> tuple[Any, ...]:
        """Positional arguments of the constructor; empty before `bind`."""
        return self._init_args

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the constructor; empty before `bind`."""
        return self._init_kwargs

    @property
    def version(self) -> None:
        """None; Ray Serve's name. alacarte computes a digest as the version at deployment."""
        return None

    def options(
        self, func_or_class: Target | None = None, /, **options: Unpack[DeploymentOptions]
    ) -> Deployment:
        """Return a copy of this deployment with some options changed.

        Each option is replaced as a whole; None unsets an option of a plugin. A fixed
        `num_replicas` replaces autoscaling that was set earlier, and vice versa.

        Raises:
            TypeError: An option is unknown.
            ConfigError: A value is not allowed.
        """
        changes = check_options(options.get("name", self._name), options)
        merged = merge_options(self._set_options, changes)
        target = self._func_or_class if func_or_class is None else func_or_class
        return Deployment(target, merged, default_name=self._name)

    def bind(self, *args: object, **kwargs: object) -> Application:
        """Return an application of this deployment and the arguments of its constructor.

        Applications among the arguments, at any depth, are deployed along with it; the constructor
        gets handles in their place.

        Raises:
            ConfigError: Arguments for a function, which has no constructor.
        """
        if self.is_function and (args or kwargs):
            raise ConfigError(
                f"{self._name}: a function has no constructor, so bind() takes no arguments; "
                "make it a class with __init__ and __call__"
            )
        bound = copy.copy(self)
        bound._init_args, bound._init_kwargs = args, kwargs
        return Application(bound)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError(
            f"{self._name} is a deployment and cannot be called directly. Call the handle that "
            f"serve.run({self._func_or_class.__name__}.bind(...)) returns; the undecorated class "
            "or function is its func_or_class."
        )

    def __repr__(self) -> str:
        shown = {option: value for option, value in self._set_options.items() if option != "name"}
        options = "".join(f", {option}={value!r}" for option, value in shown.items())
        return f"Deployment({self._name}{options})"


# Compared by identity: an object that is bound in two places is one deployment, equal objects are
# two.
@dataclass(frozen=True, eq=False, repr=False)
class Application:
    """A bound deployment and, among its arguments, the deployments that it calls.

    Pass an application to `serve.run`, or bind it as an argument of another deployment.
    """

    deployment: Deployment

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments of the constructor."""
        return self.deployment.init_args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the constructor."""
        return self.deployment.init_kwargs

    def __repr__(self) -> str:
        words = [repr(arg) for arg in self.args]
        words += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"Application({self.deployment.name}.bind({', '.join(words)}))"
