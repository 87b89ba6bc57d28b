"""Specs of deployments and applications: the plain values that a driver sends.

User code travels as bytes. The controller stores and compares the bytes and never unpickles them,
so no import of a user's can break the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import DeploymentConfig
from ..types import DeploymentId

__all__ = ["ApplicationSpec", "DeploymentSpec", "PlainOptions", "RoutePrefix"]

RoutePrefix = str | None
"""URL prefix of an application; None for no HTTP."""
PlainOptions = Mapping[str, object]
"""Plugins' options of a deployment as plain values, by section."""


@dataclass(frozen=True)
class DeploymentSpec:
    """The spec of one deployment.

    Attributes:
        id: Application and name.
        version: Digest of everything that a running replica cannot change: code, constructor
            arguments, process resources. A new version replaces the replicas.
        code: The user's class or function, as cloudpickle bytes.
        init: `(args, kwargs)` of the constructor, as cloudpickle bytes, with a persistent id in
            place of every bound deployment: its `DeploymentId`.
        is_function: Whether `code` is a function, which requests call instead of an instance.
        config: Validated options of core.
        import_paths: Entries for the replica's `sys.path`, which let replicas import the modules
            that the user's program can import.
        options: Plugins' options: plain values by section, with functions and classes as
            `UserCode`.
        scaling: The autoscaling option in the same form; empty for a fixed number of replicas.
            Only the controller reads it: changes are not sent to replicas.
    """

    id: DeploymentId
    version: str
    code: bytes = field(repr=False)
    init: bytes = field(repr=False)
    is_function: bool
    config: DeploymentConfig
    import_paths: tuple[str, ...] = ()
    options: PlainOptions = field(default_factory=dict)
    scaling: PlainOptions = field(default_factory=dict)

    @property
    def all_options(self) -> PlainOptions:
        """`options` and `scaling` together, for plugins in the controller."""
        return {**self.options, **self.scaling}


@dataclass(frozen=True)
class ApplicationSpec:
    """The spec of an application: its deployments, and its ingress among them.

    Attributes:
        name: Name of the application, unique in the instance.
        route_prefix: URL prefix; None for no HTTP.
        ingress: The deployment that takes the application's requests.
        deployments: All deployments, callees before callers.
    """

    name: str
    route_prefix: RoutePrefix
    ingress: DeploymentId
    deployments: tuple[DeploymentSpec, ...]
