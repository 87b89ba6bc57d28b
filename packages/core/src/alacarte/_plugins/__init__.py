"""Find, load and check plugins, and call their hooks."""

from __future__ import annotations

from .first_party import FIRST_PARTY, FIRST_PARTY_OPTIONS, missing_package
from .hook_call import current_hook_call, hook_call
from .loading import load
from .records import PluginRecord, check_same, discover, installed, required_plugins
from .registry import Plugins

__all__ = [
    "FIRST_PARTY",
    "FIRST_PARTY_OPTIONS",
    "PluginRecord",
    "Plugins",
    "check_same",
    "current_hook_call",
    "discover",
    "hook_call",
    "installed",
    "load",
    "missing_package",
    "required_plugins",
]
