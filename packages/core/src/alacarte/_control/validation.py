"""Validation of a change, with all resources that would then exist. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .._model.caller_options import check_caller_options
from .._model.deployment_spec import DeploymentSpec
from .._model.names import MAX_NAME_LENGTH, MAX_PATH_LENGTH, check_name, check_text
from .._model.plan import Key, Plan, PlannedResource, kind_of
from .._model.policy_parameters import build_parameters
from .._model.sizes import check_size
from .._plugins import Plugins, missing_package
from ..errors import ConfigError, ConflictError
from ..types import Resource, ResourceKind, Resources

__all__ = ["check_deployments", "check_expected", "check_plan", "check_shadows"]


def check_plan(plan: Plan, kinds: Mapping[str, ResourceKind]) -> None:
    """Check that the resources of a plan can exist together; raise ConfigError if not."""
    resources = {key: planned.resource for key, planned in plan.resources.items()}
    for resource in resources.values():
        kind_of(resource, kinds).validate(resource, resources)
    apps: dict[str, Key] = {}
    names: dict[str, Key] = {}
    paths: dict[str, Key] = {}
    fronts: dict[str, Key] = {}
    for key, planned in plan.resources.items():
        _check_names(planned)
        for spec in planned.expansion.deployments:
            _claim(apps, spec.id.app, key, f"application name {spec.id.app!r}")
        for route in planned.expansion.routes:
            what = f"route prefix {route.prefix}"
            if route.name:
                _claim(names, route.name, key, f"route name {route.name!r}")
            if route.prefix:
                _claim(fronts if route.overrides else paths, route.prefix, key, what)
            if route.prefix and route.name:
                # A route that handles call by name cannot be overridden at its prefix.
                _claim(fronts, route.prefix, key, what)
    for route in plan.routes:
        for target in (*route.targets, *route.shadows):
            if target not in plan.deployments:
                raise ConfigError(
                    f"route {route.prefix or route.name}: no "
                    + (f"deployment {target}" if target.name else f"application {target.app!r}")
                    + f" exists; existing applications: {sorted(apps)}."
                )


def _check_names(planned: PlannedResource) -> None:
    """Check the names of a resource and of its expansion; raise ConfigError for an invalid name."""
    resource, expansion = planned.resource, planned.expansion
    # The name of a resource that belongs to a path is the path.
    is_path = resource.name.startswith("/")
    check_text(
        f"{resource.kind} name", resource.name, MAX_PATH_LENGTH if is_path else MAX_NAME_LENGTH
    )
    for spec in expansion.deployments:
        check_name("application name", spec.id.app)
        check_name("deployment name", spec.id.name, forbidden="#")
    for route in expansion.routes:
        subject = f"{resource.kind} {resource.name!r}: route"
        check_text(f"{subject} prefix", route.prefix, MAX_PATH_LENGTH)
        check_text(f"{subject} name", route.name, MAX_PATH_LENGTH)


def _claim(claims: dict[str, Key], name: str, key: Key, what: str) -> None:
    """Claim a name for a resource; raise ConfigError if another resource has it."""
    kind, owner = claims.setdefault(name, key)
    if (kind, owner) != key:
        raise ConfigError(
            f"{key[1]}: {what} is used by {kind} {owner}; choose another, or delete {kind} "
            f"{owner} first."
        )


def check_expected(
    wanted: Iterable[Resource], expected: Mapping[Key, Resource | None], stored: Resources
) -> None:
    """Raise ConflictError if the stored resources differ from the expected ones (compare-and-set).

    A stored resource that equals the new one passes, too: a caller repeats a call whose answer is
    lost.
    """
    new = {(resource.kind, resource.name): resource for resource in wanted}
    for key, known in expected.items():
        found = stored.get(key)
        if found != known and (found is None or found != new.get(key)):
            raise ConflictError(*key)


def check_shadows(planned: PlannedResource, plugins: Plugins) -> None:
    """Raise PluginError for a route with shadows if no plugin copies requests to them."""
    for route in planned.expansion.routes:
        if route.shadows and not plugins.implements("wrap_route"):
            what = f"route {route.name or route.prefix}: copying requests to shadows"
            raise missing_package("shadow_traffic", what)


def check_deployments(
    planned: PlannedResource,
    plugins: Plugins,
    check_scaling: Callable[[DeploymentSpec], None],
    max_bytes: int,
) -> None:
    """Raise ConfigError for a deployment that is too large or has invalid options.

    Args:
        check_scaling: Checks the scaling options of a deployment.
        max_bytes: Limit for the code, including code in options, and the bound arguments of one
            deployment.
    """
    known = plugins.routing_policies
    for spec in planned.expansion.deployments:
        factory = known.get(spec.config.policy_name)
        if factory is None:
            raise ConfigError(
                f"{spec.id}: no installed plugin registers a routing policy "
                f"{spec.config.policy_name!r}; registered policies: {sorted(known)}."
            )
        build_parameters(f"{spec.id}: routing_policy", factory, spec.config.policy_parameters)
        check_scaling(spec)
        check_size(spec, max_bytes)
        check_caller_options(spec, plugins.deployment_sections)
