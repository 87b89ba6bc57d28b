"""Find, load and check plugins, and ask them for what they give."""

from __future__ import annotations

from .first_party import FIRST_PARTY, FIRST_PARTY_OPTIONS, missing_package
from .loading import load
from .question import asking, current_question
from .records import PluginRecord, check_same, discover, installed, required_plugins
from .registry import Plugins

__all__ = [
    "FIRST_PARTY",
    "FIRST_PARTY_OPTIONS",
    "PluginRecord",
    "Plugins",
    "asking",
    "check_same",
    "current_question",
    "discover",
    "installed",
    "load",
    "missing_package",
    "required_plugins",
]
