"""Turn an application, a graph of bound deployments, into flat specs."""

from __future__ import annotations

import logging
import re

from .. import plugins as process_plugins
from ..errors import ConfigError, ServeError
from ..types import DeploymentId
from .deployment import Application, Deployment
from .deployment_spec import ApplicationSpec, DeploymentSpec, PlainOptions, RoutePrefix
from .imports import import_paths
from .names import MAX_PATH_LENGTH, check_name, check_text
from .option_packing import new_version_values, pack_options, prepare_options
from .pickling import dump, load_code, load_init
from .version import deployment_version

__all__ = ["build_application", "check_route_prefix", "load_code", "load_init"]

logger = logging.getLogger(__name__)
_NOT_IN_PATHS = re.compile(r"[{}?#%\s]+")


def build_application(app: Application, *, name: str, route_prefix: RoutePrefix) -> ApplicationSpec:
    """Return the spec of an application: each deployment bound in it once, and its ingress.

    Finds bound deployments wherever pickling reaches: in arguments, and in code that is pickled by
    value. Different deployments with the same name get suffixes, `_1` and so on, callees first.

    Raises:
        TypeError: `app` is not an application, such as a deployment that was not bound.
        ConfigError: The name or route prefix is not allowed, or code or an argument does not
            pickle.
    """
    argument: object = app  # programs without type checks may pass any object
    if not isinstance(argument, Application):
        hint = f"{argument.name} is a deployment; " if isinstance(argument, Deployment) else ""
        raise TypeError(
            f"{hint}serve.run() takes an application, which .bind() of a deployment returns; "
            f"got {argument!r}"
        )
    check_name("application name", name)
    check_route_prefix(name, route_prefix)
    graph = _Graph(name)
    ingress = graph.identify(app)
    return ApplicationSpec(name, route_prefix, ingress, tuple(graph.specs))


def check_route_prefix(app: str, route_prefix: object) -> None:
    """Raise ConfigError for a prefix other than None, "/", and paths such as "/a/b"."""
    if route_prefix is None:
        return
    given = f"{app}: route_prefix={route_prefix!r}"
    if not isinstance(route_prefix, str):
        raise ConfigError(f'{given} must be a string such as "/images", or None for no HTTP.')
    check_text(f"{app}: route_prefix", route_prefix, MAX_PATH_LENGTH)
    if route_prefix == "/-" or route_prefix.startswith("/-/"):
        raise ConfigError(
            f"{given} is reserved for alacarte's own pages, such as /-/healthz; choose another."
        )
    broken_rule = _broken_rule(route_prefix)
    if broken_rule:
        raise ConfigError(
            f"{given} {broken_rule}; write {_corrected(route_prefix)!r}, or None for no HTTP."
        )


def _broken_rule(prefix: str) -> str:
    """Return the rule that a route prefix breaks, "" for a valid prefix."""
    if not prefix.startswith("/"):
        return 'must begin with "/"'
    if prefix != "/" and prefix.endswith("/"):
        return 'must not end with "/"'
    found = _NOT_IN_PATHS.search(prefix)
    if found is None:
        return ""
    return f"must not contain {found[0]!r} (prefixes match decoded paths, without patterns)"


def _corrected(prefix: str) -> str:
    """Return a valid prefix that resembles an invalid one."""
    return "/" + _NOT_IN_PATHS.sub("-", prefix.strip("/ "))


class _Graph:
    """The deployments of one application, in the order of their discovery."""

    def __init__(self, app_name: str) -> None:
        self.specs: list[DeploymentSpec] = []
        self._app_name = app_name
        self._paths = import_paths()
        self._ids: dict[Application, DeploymentId] = {}
        self._entered: set[Application] = set()

    def identify(self, app: Application) -> DeploymentId:
        """Return the id of a bound deployment; add a new deployment after its callees."""
        if app not in self._entered:
            self._entered.add(app)
            self._add(app)
        # Entered, but without an id yet: code by value refers to its own application.
        return self._ids.get(app) or self._name(app)

    def _add(self, app: Application) -> None:
        deployment = app.deployment
        init = self._dump_init(app)
        code = self._dump_code(app)
        options, scaling, version_options = self._options(deployment)
        self.specs.append(
            DeploymentSpec(
                id=self._ids.get(app) or self._name(app),
                version=deployment_version(deployment, self.identify, version_options),
                code=code,
                init=init,
                is_function=deployment.is_function,
                config=deployment.config,
                import_paths=self._paths,
                options=options,
                scaling=scaling,
            )
        )

    def _options(self, deployment: Deployment) -> tuple[PlainOptions, PlainOptions, PlainOptions]:
        """Return plugins' options: for all processes, for the scaler, and for the version."""
        if not deployment.plugin_options:
            return {}, {}, {}
        plugins = process_plugins.load_plugins()
        models = prepare_options(deployment.name, deployment.plugin_options, plugins)
        packed = pack_options(deployment.name, models, self.identify, self._paths)
        sections = plugins.deployment_sections
        scaling = {
            name: packed.pop(name) for name in list(packed) if sections[name].auto is not None
        }
        return packed, scaling, new_version_values(models, plugins)

    def _name(self, app: Application) -> DeploymentId:
        wanted = name = app.deployment.name
        taken = {deployment.name for deployment in self._ids.values()}
        suffix = 0
        while name in taken:
            suffix += 1
            name = f"{wanted}_{suffix}"
        if suffix:
            logger.warning(
                "%s: several deployments are named %s; one is now %s. Name it yourself with "
                ".options(name=...).", self._app_name, wanted, name,
            )  # fmt: skip
        self._ids[app] = DeploymentId(self._app_name, name)
        return self._ids[app]

    def _dump_code(self, app: Application) -> bytes:
        try:
            return dump(app.deployment.func_or_class, self.identify)
        except ServeError:
            raise  # about another deployment, which this one's code refers to
        except Exception as error:  # pickling runs the user's own methods, which raise anything
            raise ConfigError(
                f"{app.deployment.name}: its code cannot be sent to replicas "
                f"({_describe(error)}). The code refers to an object that does not pickle: create "
                "that object in __init__, or in a module that the replica imports."
            ) from error

    def _dump_init(self, app: Application) -> bytes:
        try:
            return dump((app.args, app.kwargs), self.identify)
        except ServeError:
            raise
        except Exception as error:  # as above
            raise ConfigError(
                f"{app.deployment.name}: {self._culprit(app)} of bind() cannot be sent to replicas "
                f"({_describe(error)}). Create the object in __init__, from arguments that pickle."
            ) from error

    def _culprit(self, app: Application) -> str:
        """Return a name of the argument that does not pickle: "argument 1", "argument 'key'"."""
        named: list[tuple[str, object]] = [
            (f"argument {position}", value) for position, value in enumerate(app.args, start=1)
        ]
        named += [(f"argument {key!r}", value) for key, value in app.kwargs.items()]
        return next((name for name, value in named if not self._pickles(value)), "an argument")

    def _pickles(self, value: object) -> bool:
        try:
            dump(value, self.identify)
        except Exception:  # as above
            return False
        return True


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
