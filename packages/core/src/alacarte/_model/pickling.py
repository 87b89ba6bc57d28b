"""Carry user code and arguments between processes, with every bound deployment as its id.

Pickling visits all that an object refers to, so applications are found wherever they hide,
in lists, dataclasses, closures and globals, without a scan of our own.

What is importable travels by reference and is imported where it arrives; what is not (objects of
`__main__`, of a notebook, of a function's body) travels by value.
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
"""Gives a bound deployment its name in the application being built."""

MARK = "alacarte.deployment"
"""First item of our persistent ids; the second is a `DeploymentId`, as a plain tuple."""


def dump(value: Any, identify: Identify) -> bytes:
    """Pickle `value`, each application in it as what `identify` says. Raises what pickling does."""
    file = io.BytesIO()
    ModelPickler(file, identify).dump(value)
    return file.getvalue()


def load_init(
    data: bytes, make_handle: Callable[[DeploymentId], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return `(args, kwargs)` of a constructor from `DeploymentSpec.init`.

    `make_handle` is called once for each deployment bound in them.
    """
    args, kwargs = _Unpickler(data, make_handle).load()
    return args, kwargs


def load_code(data: bytes, make_handle: Callable[[DeploymentId], Any]) -> Callable[..., Any]:
    """Return the user's class or function from `DeploymentSpec.code`.

    `DeploymentSpec.import_paths` must be on `sys.path` by then.
    """
    target: Callable[..., Any] = _Unpickler(data, make_handle).load()
    return target


class ModelPickler(CodePickler):
    """Pickle, and note the modules that are needed at the other end.

    Attributes:
        modules: Names of the modules of all that went by reference.
    """

    def __init__(self, file: Sink, identify: Identify) -> None:
        super().__init__(file)
        self.identify = identify
        self.modules: set[str] = set()

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is Application:
            return MARK, tuple(self.identify(obj))
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            self.modules.add(obj.__name__)
        elif isinstance(obj, type | FunctionType):
            if isinstance(obj.__module__, str):
                self.modules.add(obj.__module__)
            # cloudpickle finds a Deployment under the name of a decorated class, and would send
            # the class by value: a second class, with a copy of every global it uses.
            if _is_decorated(obj):
                return _undecorated, (obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, make_handle: Callable[[DeploymentId], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._make_handle = make_handle
        self._handles: dict[DeploymentId, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        mark, (app, name) = pid
        if mark != MARK:
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        deployment = DeploymentId(app, name)
        if deployment not in self._handles:
            self._handles[deployment] = self._make_handle(deployment)
        return self._handles[deployment]


def _is_decorated(target: type | FunctionType) -> bool:
    """Tell whether importing the target's module gives a deployment made of it."""
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
    """Tell whether another process with our `sys.path` would import the same module.

    Not so for modules loaded from a file by hand, as pytest does in `importlib` mode, and for
    those registered with `cloudpickle.register_pickle_by_value`.
    """
    top = name.partition(".")[0]
    if {name, top} & set(cloudpickle.list_registry_pickle_by_value()):
        return False
    spec, module = PathFinder.find_spec(top), sys.modules.get(top)
    return spec is not None and spec.origin == getattr(module, "__file__", None)


def _undecorated(module: str, qualname: str) -> Any:
    """Import a decorated class or function and return it as it was before decoration."""
    found = _attribute(importlib.import_module(module), qualname)
    return getattr(found, "func_or_class", found)


def _attribute(found: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
