"""The values that make a process part of an instance. No process stores them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._plugins import PluginRecord

if TYPE_CHECKING:
    from .._section_values import Config

__all__ = ["InstanceInfo", "Membership"]


@dataclass(frozen=True)
class Membership:
    """The values that make a process part of an instance. Kept in memory only.

    Attributes:
        instance: Random name of the instance. Not secret: part of its actors' names.
        secret: Proof of membership between its processes.
        config: All sections of the configuration, secrets included, as plain values.
    """

    instance: str
    secret: bytes = field(repr=False)
    config: Config = field(repr=False)


@dataclass(frozen=True)
class InstanceInfo:
    """The controller's answer to a process that joins its instance.

    Attributes:
        instance: Random name of the instance.
        secret: Proof of membership between its processes.
        config: All sections of the configuration, as plain values; None in place of each secret.
        plugins: The plugins that every process of the instance runs.
        node_id: The controller's node.
    """

    instance: str
    secret: bytes = field(repr=False)
    config: Config = field(repr=False)
    plugins: tuple[PluginRecord, ...]
    node_id: str
