from __future__ import annotations

import importlib

from alacarte_batching import batch, hooks


def test_serve_batch_is_registered() -> None:
    """The plugin registers `serve.batch` with the decorator as its target."""
    (name,) = hooks.register_api()
    module, _, attribute = name.target.partition(":")
    assert name.name == "batch"
    assert getattr(importlib.import_module(module), attribute) is batch
