"""The running instance and its resources, for packages with resources of their own.

deployments = build_deployments(Model.bind(), name="model")
get_instance().apply(Resource("a kind of yours", "model", deployments))
"""

from __future__ import annotations

from ._model.deployment import Application
from ._model.deployment_spec import DeploymentSpec
from ._model.graph import build_application
from ._model.names import MAX_PATH_LENGTH, check_name, check_text
from ._model.plan import kind_of
from ._section_values import describe_deployment
from .errors import ServeError
from .plugins import load_plugins
from .types import DeploymentInfo, Instance, Resource

__all__ = [
    "DeploymentSpec",
    "build_deployments",
    "check_deployment_name",
    "check_path_text",
    "describe_deployments",
    "get_instance",
]


def build_deployments(application: Application, *, name: str) -> tuple[DeploymentSpec, ...]:
    """Return the deployments of an application, ready to stand in an `Expansion`.

    Args:
        application: The result of `.bind()`.
        name: The application of each `DeploymentId`. No other resource may have deployments of
            that application.

    Returns:
        Callees before callers, so the ingress is the last.

    Raises:
        ConfigError: The name is invalid, or code or an argument does not pickle.
    """
    return build_application(application, name=name, route_prefix=None).deployments


def describe_deployments(resource: Resource) -> tuple[DeploymentInfo, ...]:
    """Return the deployments of a resource, with the options that plugins add.

    Pure, for `ResourceKind.validate` to read the options of another resource's deployments.

    Returns:
        Callees before callers, so an application's ingress is the last.

    Raises:
        ConfigError: No installed plugin registers the resource's kind.
    """
    plugins = load_plugins()
    deployments = kind_of(resource, plugins.resource_kinds).expand(resource).deployments
    return tuple(
        describe_deployment(spec.id, spec.version, spec.all_options, plugins)
        for spec in deployments
    )


def check_deployment_name(subject: str, name: object) -> str:
    """Return `name` where it is a valid name of a deployment.

    Args:
        subject: The description of the name, for errors: "a backend's tag".

    Raises:
        TypeError: The name is not a string.
        ConfigError: The name is empty, longer than 200 characters, or holds "#", a control
            character or a lone surrogate.
    """
    return check_name(subject, name, forbidden="#")


def check_path_text(subject: str, path: str) -> str:
    """Return `path` where it can be encoded, and printed on one line.

    Raises:
        ConfigError: The path is longer than 2000 characters, or holds a control character or a
            lone surrogate.
    """
    return check_text(subject, path, MAX_PATH_LENGTH)


def get_instance() -> Instance:
    """Return the instance that this process is connected to; connect to the running instance first.

    For a driver, or any other process of its Ray cluster.

    Raises:
        ServeError: No instance is running.
    """
    from .serve import _current  # lazy: resource declarations need no session

    session = _current.current() or _current.attach()
    if session is None:
        raise ServeError("alacarte is not running; call serve.start() or serve.run(app) first.")
    return session
