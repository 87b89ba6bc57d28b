from __future__ import annotations

import importlib

from alacarte_cli.hooks import register_commands


def test_every_command_of_ours_can_be_loaded() -> None:
    """Each target that the hook names exists and has what `Command` asks for."""
    for command in register_commands():
        module, _, attribute = command.target.partition(":")
        runnable = getattr(importlib.import_module(module), attribute)
        assert callable(runnable.arguments)
        assert callable(runnable.run)
