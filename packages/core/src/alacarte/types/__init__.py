"""Values and protocols that plugins and alacarte exchange.

A *service* is an async function from `Call` to `Reply`; a *layer* takes a service and returns a
service. The path of a request, at the caller and in the replica, is made of these two.
"""

from .._nested_calls import NestedCalls
from ._app_routes import Route, RouteTable
from ._applications import ApplicationInfo, ApplicationTable
from ._call_protocols import CallProtocol, FailureProtocol, Method, UserCallable
from ._configuration import ConfigSection, ConfigSections, UserCode
from ._deployment_id import DeploymentId
from ._deployment_info import DeploymentInfo
from ._events import Event
from ._facade import Client, Handle, HandleResponse
from ._hooks import Failures, HookResult, Hooks
from ._identities import Identity
from ._instance_protocol import Instance
from ._loads import CallerLoad, LoadWatch
from ._node_services import MessageReceiver, NodeService, NodeServiceSpec
from ._observers import (
    BatchObserver,
    EdgeObserver,
    EdgeRequest,
    Meter,
    Outcome,
    OutcomeKind,
    ReplicaObserver,
    RouterObserver,
    WireObserver,
)
from ._processes import Cleanup, ProcessInfo
from ._registration import ApiName, Command
from ._replica_load import Address, ReplicaLoad
from ._reports import BoundedReceiver, ProcessId, ReportReceiver, ReportTopic, RouteCounter
from ._requests import Buffer, Call, Layer, Message, PushedMessages, ReadyMessages, Reply, Service
from ._resources import Expansion, Resource, ResourceKind, Resources
from ._route_layers import RouteLayer
from ._routing_policies import (
    WAIT,
    ListeningPolicy,
    Pick,
    PolicyContext,
    PolicyFactory,
    RoutingPolicy,
    Shed,
    Wait,
)
from ._runtime_protocol import NodeServiceSender, Runtime, ServiceContext
from ._scalers import (
    HelperProcess,
    HelperProcesses,
    Scaler,
    ScalerContext,
)
from ._stages import LayerStage, StagedLayer

__all__ = [
    "Address",
    "ApiName",
    "ApplicationInfo",
    "ApplicationTable",
    "BatchObserver",
    "BoundedReceiver",
    "Buffer",
    "Call",
    "CallProtocol",
    "CallerLoad",
    "Cleanup",
    "Client",
    "Command",
    "ConfigSection",
    "ConfigSections",
    "DeploymentId",
    "DeploymentInfo",
    "EdgeObserver",
    "EdgeRequest",
    "Method",
    "Event",
    "Expansion",
    "FailureProtocol",
    "Failures",
    "Handle",
    "HandleResponse",
    "HelperProcess",
    "HelperProcesses",
    "HookResult",
    "Hooks",
    "Identity",
    "Instance",
    "Layer",
    "LayerStage",
    "LoadWatch",
    "ListeningPolicy",
    "Message",
    "MessageReceiver",
    "Meter",
    "NestedCalls",
    "NodeService",
    "NodeServiceSender",
    "NodeServiceSpec",
    "Outcome",
    "OutcomeKind",
    "Pick",
    "PolicyFactory",
    "PolicyContext",
    "ProcessId",
    "ProcessInfo",
    "PushedMessages",
    "ReadyMessages",
    "ReplicaLoad",
    "ReplicaObserver",
    "Reply",
    "ReportReceiver",
    "ReportTopic",
    "Resource",
    "ResourceKind",
    "Resources",
    "Route",
    "RouteCounter",
    "RouteLayer",
    "RouteTable",
    "RouterObserver",
    "RoutingPolicy",
    "Runtime",
    "Scaler",
    "ScalerContext",
    "UserCallable",
    "Service",
    "ServiceContext",
    "Shed",
    "StagedLayer",
    "UserCode",
    "WAIT",
    "Wait",
    "WireObserver",
]
