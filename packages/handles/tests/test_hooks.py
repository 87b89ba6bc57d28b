"""The hooks of the plugin: its names for users, and its handles for core."""

from __future__ import annotations

import importlib

import alacarte_handles
from alacarte import serve
from alacarte.types import DeploymentId
from alacarte_handles import hooks


def test_registered_names_exist():
    """Every name registered for `serve` leads to something public of this package."""
    for name in hooks.register_api():
        module, _, attribute = name.target.partition(":")
        assert getattr(importlib.import_module(module), attribute)
        assert attribute in alacarte_handles.__all__


def test_ray_serve_import_paths():
    """`alacarte.serve.handle` has the names of `ray.serve.handle`; `serve` has the lookups."""
    from alacarte.serve.handle import (
        DeploymentHandle,
        DeploymentResponse,
        DeploymentResponseGenerator,
    )

    assert DeploymentHandle is alacarte_handles.DeploymentHandle
    assert DeploymentResponse is alacarte_handles.DeploymentResponse
    assert DeploymentResponseGenerator is alacarte_handles.DeploymentResponseGenerator
    assert serve.get_app_handle is alacarte_handles.get_app_handle
    assert serve.get_deployment_handle is alacarte_handles.get_deployment_handle


def test_make_handle():
    """A bound deployment becomes a handle, which needs no runtime yet."""
    handle = hooks.make_handle(DeploymentId("app", "d"), None)
    assert (handle.app_name, handle.deployment_name) == ("app", "d")
    assert handle.deployment_id == DeploymentId("app", "d")
