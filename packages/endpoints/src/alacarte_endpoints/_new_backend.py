"""Specs of new backends, from the arguments of `create_backend`."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.instance import build_deployments

from ._backend import Backend
from ._callable import Traits, traits_of
from ._names import check_name
from .config import BackendConfig, CondaEnv
from .kinds import BackendSpec

__all__ = ["check_config", "new_backend"]

_building = threading.Lock()
"""Held while a thread builds: CPython 3.11 cannot create syntax trees in two threads at once."""


def new_backend(
    tag: str,
    func_or_class: Callable[..., object],
    init_args: tuple[object, ...],
    ray_actor_options: object,
    config: BackendConfig,
    env: CondaEnv | None,
) -> BackendSpec:
    """Return the spec of a new backend.

    Raises:
        TypeError: An argument has the wrong type.
        ConfigError: A value is invalid, or code or an argument does not pickle.
        PluginError: The backend accepts batches, and alacarte-batching is not installed.
    """
    check_name("a backend's tag", tag)
    _check_target(tag, func_or_class, init_args)
    traits = traits_of(func_or_class)
    check_config(tag, config, traits)
    if traits.accepts_batches:
        _ = serve.batch  # raises a PluginError that names the missing package
    options = {
        **config.deployment_options(is_async=traits.is_async),
        "ray_actor_options": _actor_options(tag, ray_actor_options, env),
    }
    deployment = serve.deployment(Backend, name=tag, **options)
    try:
        with _building:
            [spec] = build_deployments(deployment.bind(func_or_class, init_args), name=tag)
    except ConfigError as error:
        if error.__cause__ is None:
            raise
        # The original message mentions bind(), which users of `create_backend` do not call.
        raise ConfigError(
            f"backend {tag!r}: its code, or an argument of its constructor, cannot be sent to "
            f"replicas ({type(error.__cause__).__name__}: {error.__cause__}). Create objects that "
            "do not pickle in __init__, or in a module that the replica imports."
        ) from error.__cause__
    return BackendSpec(spec, config, traits)


def check_config(tag: str, config: BackendConfig, traits: Traits) -> None:
    """Raise ConfigError for options that the backend's code does not support."""
    if (config.max_batch_size or 1) > 1 and not traits.accepts_batches:
        raise ConfigError(
            f"backend {tag!r}: max_batch_size={config.max_batch_size} needs a function or a method "
            "with @serve.accept_batch, which takes a list of requests."
        )
    if config.user_config is not None and not traits.reconfigures:
        raise ConfigError(
            f"backend {tag!r}: user_config needs a class with a method "
            "reconfigure(self, user_config)."
        )


def _check_target(tag: str, target: object, init_args: tuple[object, ...]) -> None:
    if isinstance(target, serve.Deployment):
        raise TypeError(
            f"backend {tag!r}: {target!r} is a deployment; pass its func_or_class, or run the "
            "deployment with serve.run()."
        )
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        raise TypeError(f"backend {tag!r}: pass a class or a function, not {target!r}.")
    if init_args and not inspect.isclass(target):
        raise ConfigError(
            f"backend {tag!r}: constructor arguments require a class with __init__ and __call__, "
            "not a function."
        )


def _actor_options(tag: str, given: object, env: object) -> dict[str, object]:
    """Return the options of the replicas' processes. Core checks the values."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"backend {tag!r}: ray_actor_options must be a dict, not {given!r}.")
    options = dict(given or {})
    for name in ("num_cpus", "num_gpus", "memory"):
        amount = options.get(name, 0)
        if amount is None:
            del options[name]
        elif isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"backend {tag!r}: {name} must be a number, not {amount!r}.")
    if env is None:
        return options
    if not isinstance(env, CondaEnv):
        raise TypeError(f"backend {tag!r}: env must be a serve.CondaEnv, not {env!r}.")
    runtime_env = dict(options.get("runtime_env") or {})
    if "conda" in runtime_env:
        raise ConfigError(
            f"backend {tag!r}: env={env!r} and ray_actor_options['runtime_env']['conda'] exclude "
            "each other."
        )
    options["runtime_env"] = {**runtime_env, "conda": env.name}
    return options
