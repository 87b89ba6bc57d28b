"""The version of a deployment, which decides whether running replicas must be replaced.

The version is a digest of everything that a running process cannot change. Equal programs have
equal versions in every process, so running the same program again restarts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from .deployment import Deployment
from .deployment_spec import PlainOptions
from .imports import source_files
from .pickling import Identify, ModelPickler

__all__ = ["deployment_version"]


def deployment_version(
    deployment: Deployment, identify: Identify, options: PlainOptions = MappingProxyType({})
) -> str:
    """Return 16 hexadecimal characters that change when replicas must be replaced.

    The version covers the user's code, the files that the code is imported from (see
    `source_files`; a pickle by reference does not change with them), the constructor's arguments,
    the resources of the process, its placement group, the limit of replicas per node, and
    `options`: the plugins' options that a running process cannot change. All other options are
    sent to running replicas, or (`placement`) apply to replicas that start from now on.

    Code that is pickled by value counts without its position in the file, and sets count by their
    members. Some objects pickle differently each time (a `TypeVar` of `__main__`, an object whose
    own pickling has a random or address-like part); these restart replicas at each deployment. The
    only change that is missed is in code that is imported by a computed name, from outside of the
    package, and is not loaded in this process.
    """
    content = Fingerprint(identify)
    target = deployment.func_or_class
    content.dump((target, deployment.init_args, deployment.init_kwargs))
    if options:
        content.dump(options)
    digest = hashlib.sha256(content.digest())
    for name, path in sorted(source_files(content.modules, str(target.__module__)).items()):
        digest.update(f"\n{name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    config = deployment.config
    rest = {
        "is_function": deployment.is_function,
        "max_replicas_per_node": config.max_replicas_per_node,
        "placement_group": (
            config.placement_group_bundles,
            config.placement_group_strategy,
            config.bundle_labels,
        ),
        "ray_actor_options": config.ray_actor_options.model_dump(),
    }
    digest.update(json.dumps(rest, sort_keys=True, default=repr).encode())
    return digest.hexdigest()[:16]


# Python and pickle add these to a class; their values depend on its position and its use.
_VOLATILE_ATTRIBUTES = frozenset(("__firstlineno__", "__slotnames__", "__static_attributes__"))
# pydantic derives these from fields, validators and configuration, and names classes by address.
_DERIVED_ATTRIBUTES = frozenset(
    ("__pydantic_core_schema__", "__pydantic_serializer__", "__pydantic_validator__")
)
_EXCLUDED_ATTRIBUTES = _VOLATILE_ATTRIBUTES | _DERIVED_ATTRIBUTES


class Fingerprint(ModelPickler):
    """A pickler into a digest, without the parts that differ between equal programs."""

    def __init__(self, identify: Identify, within: frozenset[int] = frozenset()) -> None:
        self._sha = hashlib.sha256()
        self._within = within
        super().__init__(self, identify)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the pickle."""
        self._sha.update(data)

    def digest(self) -> bytes:
        """Return the digest of the dumped objects."""
        return self._sha.digest()

    def persistent_id(self, obj: object) -> object:
        if type(obj) is set or type(obj) is frozenset:
            return type(obj).__name__, self._members(obj)
        return super().persistent_id(obj)

    def _members(self, members: set[Any] | frozenset[Any]) -> list[Any]:
        """Return the members in an order that does not depend on hashes, which are random."""
        if {type(member) for member in members} <= {str, bytes, int, float, bool}:
            return sorted(members, key=lambda member: (type(member).__name__, member))
        if id(members) in self._within:
            return []  # a set that holds itself by way of its members
        within = self._within | {id(members)}
        return sorted(self._digest_of(member, within) for member in members)

    def _digest_of(self, member: object, within: frozenset[int]) -> bytes:
        inner = Fingerprint(self.identify, within)
        inner.dump(member)
        self.modules |= inner.modules
        return inner.digest()

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, CodeType):
            return str, (repr(_behaviour(obj)),)
        reduced = super().reducer_override(obj)
        by_value = isinstance(reduced, tuple) and len(reduced) == 6
        if by_value and isinstance(obj, type):
            make, args, (attributes, slots), *rest = reduced
            # cloudpickle adds a random id to each class that it pickles by value.
            args = tuple("" if _is_stamp(arg) else arg for arg in args)
            stable = {k: v for k, v in attributes.items() if k not in _EXCLUDED_ATTRIBUTES}
            return make, args, (stable, slots), *rest
        if by_value and isinstance(obj, FunctionType):
            make, (code, module_names, *unset), (attributes, slots), *rest = reduced
            # Which modules of a package are loaded is chance. The module's location does not count
            # either; a function that uses `__file__` has it among its globals.
            slots = {k: v for k, v in slots.items() if k != "_cloudpickle_submodules"}
            names = {k: v for k, v in module_names.items() if k != "__file__"}
            return make, (code, names, *unset), (attributes, slots), *rest
        return reduced


def _is_stamp(arg: object) -> bool:
    return isinstance(arg, str) and re.fullmatch("[0-9a-f]{32}", arg) is not None


def _behaviour(code: CodeType) -> tuple[object, ...]:
    """Return all parts of a code object except its location: file and lines.

    Running a notebook's cell again, or adding a line above the code, is not a change.
    """
    return (
        code.co_qualname,
        code.co_code,
        code.co_exceptiontable,
        tuple(_constant(constant) for constant in code.co_consts),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
    )


def _constant(constant: object) -> object:
    if isinstance(constant, CodeType):
        return _behaviour(constant)
    if isinstance(constant, tuple):
        return tuple(_constant(item) for item in constant)
    if isinstance(constant, frozenset):
        return frozenset, sorted(repr(_constant(item)) for item in constant)
    return constant
