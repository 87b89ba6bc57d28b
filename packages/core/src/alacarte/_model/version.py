"""Tell whether a deployment's running replicas can go on, or must be replaced.

The version is a digest of all that a running process cannot take over. Equal programs give equal
versions in every process, so running the same one again restarts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from .deployment import Deployment
from .imports import source_files
from .pickling import Identify, ModelPickler

__all__ = ["deployment_version"]


def deployment_version(
    deployment: Deployment, identify: Identify, options: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """Return 16 hexadecimal characters that change when replicas must be replaced.

    They do so with the user's code, with the files it is imported from (see `source_files`; a
    pickle by reference would not change with them), the constructor's arguments, the resources
    of the process, its placement group, the bound on replicas per node, and `options`: those of
    plugins that a running process cannot take over. All other options reach replicas that run, or
    (`placement`) those that start from now on.

    Code by value counts for what it does: not for its place in the file, and sets count by their
    members. Some objects still pickle differently each time (a `TypeVar` of `__main__`, an
    object whose own pickling has a random or address-like part); these cost a restart at each
    deployment. The opposite, a change that is missed, takes code that is imported by a computed
    name, from outside of the package, and without being loaded here.
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


# Python and pickle add these to a class; they say where it stands or how it was used.
_VOLATILE_ATTRIBUTES = frozenset(("__firstlineno__", "__slotnames__", "__static_attributes__"))
# pydantic derives these from fields, validators and configuration, and names classes by address.
_DERIVED_ATTRIBUTES = frozenset(
    ("__pydantic_core_schema__", "__pydantic_serializer__", "__pydantic_validator__")
)
_LEFT_OUT = _VOLATILE_ATTRIBUTES | _DERIVED_ATTRIBUTES


class Fingerprint(ModelPickler):
    """Pickle into a digest, leaving out what differs between equal programs."""

    def __init__(self, identify: Identify, within: frozenset[int] = frozenset()) -> None:
        self._sha = hashlib.sha256()
        self._within = within
        super().__init__(self, identify)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the pickle."""
        self._sha.update(data)

    def digest(self) -> bytes:
        """Return the digest of what was dumped."""
        return self._sha.digest()

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) in (set, frozenset):
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

    def _digest_of(self, member: Any, within: frozenset[int]) -> bytes:
        inner = Fingerprint(self.identify, within)
        inner.dump(member)
        self.modules |= inner.modules
        return inner.digest()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CodeType):
            return str, (repr(_behaviour(obj)),)
        reduced = super().reducer_override(obj)
        by_value = isinstance(reduced, tuple) and len(reduced) == 6
        if by_value and isinstance(obj, type):
            make, args, (attributes, slots), *rest = reduced
            # cloudpickle stamps each class that goes by value with a random id.
            args = tuple("" if _is_stamp(arg) else arg for arg in args)
            stable = {k: v for k, v in attributes.items() if k not in _LEFT_OUT}
            return make, args, (stable, slots), *rest
        if by_value and isinstance(obj, FunctionType):
            make, (code, module_names, *unset), (attributes, slots), *rest = reduced
            # Which modules of a package happen to be loaded is chance. Where the module lies is
            # of no interest either; a function that uses `__file__` has it among its globals.
            slots = {k: v for k, v in slots.items() if k != "_cloudpickle_submodules"}
            names = {k: v for k, v in module_names.items() if k != "__file__"}
            return make, (code, names, *unset), (attributes, slots), *rest
        return reduced


def _is_stamp(arg: Any) -> bool:
    return isinstance(arg, str) and re.fullmatch("[0-9a-f]{32}", arg) is not None


def _behaviour(code: CodeType) -> tuple[Any, ...]:
    """Return all of a code object but its place: file and lines.

    So the same cell run again in a notebook, or a line added above, is no change.
    """
    return (
        code.co_qualname,
        code.co_code,
        code.co_exceptiontable,
        tuple(_constant(constant) for constant in code.co_consts),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
    )


def _constant(constant: Any) -> Any:
    if isinstance(constant, CodeType):
        return _behaviour(constant)
    if isinstance(constant, tuple):
        return tuple(_constant(item) for item in constant)
    if isinstance(constant, frozenset):
        return frozenset, sorted(repr(_constant(item)) for item in constant)
    return constant
