from __future__ import annotations

import importlib

import alacarte_multiplexing
from alacarte.testing import check_plugin
from alacarte_multiplexing import hooks


def test_the_plugin_is_sound() -> None:
    """The plugin loads by its entry point, and all its hooks exist."""
    check_plugin("multiplexing")


def test_names_are_registered() -> None:
    """The registered names refer to exports of the package."""
    for name in hooks.register_api():
        module, _, attribute = name.target.partition(":")
        assert name.name == attribute
        assert name.name in alacarte_multiplexing.__all__
        assert hasattr(importlib.import_module(module), attribute)
