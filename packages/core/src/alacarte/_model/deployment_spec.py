"""What a deployment comes down to once it has left the user's program: plain, durable values.

User code travels as bytes. The controller stores and compares them and never unpickles them, so
nothing a user imports can break it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import DeploymentConfig
from ..types import DeploymentId

__all__ = ["ApplicationSpec", "DeploymentSpec", "RoutePrefix"]

RoutePrefix = str | None
"""An application's place under the HTTP root; None keeps it off HTTP."""


@dataclass(frozen=True)
class DeploymentSpec:
    """One deployment of an application.

    Attributes:
        id: Application and name.
        version: Digest of all that a running replica cannot take over: code, constructor
            arguments, process resources. Another version means other processes.
        code: The user's class or function, as cloudpickle bytes.
        init: `(args, kwargs)` of the constructor, as cloudpickle bytes in which every bound
            deployment stands as a persistent id: its `DeploymentId`.
        is_function: `code` holds a function, called itself instead of an instance.
        config: Validated options.
        import_paths: Entries for the replica's `sys.path`, so that what the user's program
            could import, its replicas can.
        options: Those that plugins give deployments: plain values by section; functions and
            classes in them are `UserCode`.
        scaling: The one that the number of replicas follows, in the same form; empty for a fixed
            number. The controller alone knows it: a change of it reaches no replica.
    """

    id: DeploymentId
    version: str
    code: bytes = field(repr=False)
    init: bytes = field(repr=False)
    is_function: bool
    config: DeploymentConfig
    import_paths: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    scaling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_options(self) -> Mapping[str, Any]:
        """`options` and `scaling`, as plugins in the controller see them."""
        return {**self.options, **self.scaling}


@dataclass(frozen=True)
class ApplicationSpec:
    """An application as the driver sends it: deployments and which of them takes requests.

    Attributes:
        name: Unique in the instance.
        route_prefix: Where HTTP reaches it; None for nowhere.
        ingress: The deployment that was given to `serve.run`.
        deployments: All of them, callees before callers.
    """

    name: str
    route_prefix: RoutePrefix
    ingress: DeploymentId
    deployments: tuple[DeploymentSpec, ...]
