"""The protocols between alacarte's processes: the methods that actors answer, and their values.

An instance runs one controller, replicas, node services, and helper processes of plugins. Each is
an actor: found by name, called by method. These protocols list every such method with its
arguments, its caller, its timeout and its errors. `remote` declares on each method the timeout and
whether the call may be repeated; stubs enforce the timeout. Only the controller's client repeats
calls whose answers were lost, and only repeatable ones. A message to a node service is sent again
only after `NotStarted`: the service has not processed it.

Any call of an actor may raise two errors that its method does not list: `ActorDied`, and
`ActorUnresponsive` if the method has a timeout.
"""

from __future__ import annotations

from .controller_protocol import ControllerProtocol, MissingBlobs
from .membership import InstanceInfo, Membership
from .node_service_protocol import NodeServiceProtocol
from .remote import ActorDied, ActorUnresponsive, CallTerms, NotStarted, remote, terms_of
from .replica_protocol import Liveness, ReplicaInfo, ReplicaProtocol
from .reporting import (
    FORGET_S,
    HEARTBEAT_S,
    PLUGIN_FAILURES_TOPIC,
)
from .watching import (
    DeploymentSnapshot,
    ReplicaEntry,
    RoutedDeployment,
    Snapshot,
    SnapshotDelta,
    TableSnapshot,
    WatchRequest,
)

__all__ = [
    "FORGET_S",
    "HEARTBEAT_S",
    "PLUGIN_FAILURES_TOPIC",
    "ActorDied",
    "ActorUnresponsive",
    "CallTerms",
    "ControllerProtocol",
    "RoutedDeployment",
    "DeploymentSnapshot",
    "InstanceInfo",
    "Membership",
    "MissingBlobs",
    "NodeServiceProtocol",
    "NotStarted",
    "Liveness",
    "ReplicaEntry",
    "ReplicaInfo",
    "ReplicaProtocol",
    "Snapshot",
    "SnapshotDelta",
    "TableSnapshot",
    "WatchRequest",
    "remote",
    "terms_of",
]
