"""Pickling of user code and arguments, with ids in place of bound deployments.

Pickling visits every object that an object refers to, so it finds applications anywhere: in
lists, dataclasses, closures and globals.

Importable code is pickled by reference and imported by the receiver; other code (of `__main__`, a
notebook, a function's body) is pickled by value.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from .._code_pickler import CodePickler, Sink
from ..types import DeploymentId
from .deployment import Application, Deployment

__all__ = ["Identify", "ModelPickler", "dump", "load_code", "load_init"]

Identify = Callable[[Application], DeploymentId]
"""Returns the id of a bound deployment in the application being built."""
MakeHandle = Callable[[DeploymentId], object]
"""Returns the handle to a bound deployment, for the code that takes its place."""

MARK = "alacarte.deployment"
"""First item of alacarte's persistent ids; the second is a `DeploymentId`, as a plain tuple."""


def dump(value: object, identify: Identify) -> bytes:
    """Pickle a value, with the ids from `identify` in place of applications.

    Raises:
        Exception: Pickling runs the user's own methods, which may raise anything.
    """
    file = io.BytesIO()
    ModelPickler(file, identify).dump(value)
    return file.getvalue()


def load_init(data: bytes, make_handle: MakeHandle) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return `(args, kwargs)` of a constructor from `DeploymentSpec.init`.

    Args:
        make_handle: Called once for each deployment that is bound in the arguments.
    """
    args, kwargs = _ModelUnpickler(data, make_handle).load()
    return args, kwargs


def load_code(data: bytes, make_handle: MakeHandle) -> Callable[..., object]:
    """Return the user's class or function from `DeploymentSpec.code`.

    `DeploymentSpec.import_paths` must be on `sys.path`.
    """
    target: Callable[..., object] = _ModelUnpickler(data, make_handle).load()
    return target


class ModelPickler(CodePickler):
    """A pickler that collects the modules that the receiver needs.

    Attributes:
        modules: Names of the modules of all objects that were pickled by reference.
    """

    def __init__(self, file: Sink, identify: Identify) -> None:
        super().__init__(file)
        self.identify = identify
        self.modules: set[str] = set()

    def persistent_id(self, obj: object) -> object:
        if type(obj) is Application:
            return MARK, tuple(self.identify(obj))
        return None

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, ModuleType):
            self.modules.add(obj.__name__)
        elif isinstance(obj, type | FunctionType):
            if isinstance(obj.__module__, str):
                self.modules.add(obj.__module__)
            # cloudpickle finds a Deployment under the name of a decorated class, and would pickle
            # the class by value: a second class, with a copy of every global that it uses.
            if _is_decorated(obj):
                return _undecorated, (obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)


class _ModelUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, make_handle: MakeHandle) -> None:
        super().__init__(io.BytesIO(data))
        self._make_handle = make_handle
        self._handles: dict[DeploymentId, object] = {}

    def persistent_load(self, pid: tuple[str, tuple[str, str]]) -> object:
        mark, (app, name) = pid
        if mark != MARK:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        deployment = DeploymentId(app, name)
        if deployment not in self._handles:
            self._handles[deployment] = self._make_handle(deployment)
        return self._handles[deployment]


def _is_decorated(target: type | FunctionType) -> bool:
    """Return whether the target's module has, under its name, a deployment made of it."""
    module = sys.modules.get(target.__module__ or "")
    if module is None or module.__name__ == "__main__" or "<locals>" in target.__qualname__:
        return False
    found = _attribute(module, target.__qualname__)
    return (
        isinstance(found, Deployment)
        and found.func_or_class is target
        and _importable(target.__module__)
    )


def _importable(name: str) -> bool:
    """Return whether another process with the same `sys.path` would import the same module.

    False for modules loaded from a file by hand, as pytest does in `importlib` mode, and for
    modules registered with `cloudpickle.register_pickle_by_value`.
    """
    top = name.partition(".")[0]
    if {name, top} & set(cloudpickle.list_registry_pickle_by_value()):
        return False
    spec, module = PathFinder.find_spec(top), sys.modules.get(top)
    return spec is not None and spec.origin == getattr(module, "__file__", None)


def _undecorated(module: str, qualname: str) -> object:
    """Import a decorated class or function and return the undecorated one."""
    found = _attribute(importlib.import_module(module), qualname)
    return getattr(found, "func_or_class", found)


def _attribute(found: object, qualname: str) -> object:
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
