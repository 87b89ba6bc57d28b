"""Whether a change can be: everything that would then exist is checked together. Pure."""

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
    """Raise ConfigError when the resources of a plan cannot exist together."""
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
                # Nothing goes in front of a route that handles call, too.
                _claim(fronts, route.prefix, key, what)
    for route in plan.routes:
        for target in (*route.targets, *route.shadows):
            if target not in plan.deployments:
                raise ConfigError(
                    f"route {route.prefix or route.name}: there is no "
                    + (f"deployment {target}" if target.name else f"application {target.app!r}")
                    + f"; there are applications {sorted(apps)}."
                )


def _check_names(planned: PlannedResource) -> None:
    """Raise ConfigError for a name of a resource, or of its expansion, that is not allowed."""
    resource, expansion = planned.resource, planned.expansion
    # A resource that belongs to a path is named by it.
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
    """Note the owner of a name; refuse a second one."""
    kind, owner = claims.setdefault(name, key)
    if (kind, owner) != key:
        raise ConfigError(
            f"{key[1]}: {what} is used by {kind} {owner}; choose another, or delete {kind} "
            f"{owner} first."
        )


def check_expected(
    wanted: Iterable[Resource], expected: Mapping[Key, Resource | None], stored: Resources
) -> None:
    """Compare and set: raise ConflictError when the stored resources are not the expected ones.

    The wanted resource itself is accepted in place of the expected one: a caller that has lost an
    answer asks again.
    """
    new = {(resource.kind, resource.name): resource for resource in wanted}
    for key, known in expected.items():
        found = stored.get(key)
        if found != known and (found is None or found != new.get(key)):
            raise ConflictError(*key)


def check_shadows(planned: PlannedResource, plugins: Plugins) -> None:
    """Raise PluginError for a route with shadows where no plugin would send them copies."""
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
    """Raise ConfigError for a deployment whose policies nobody gives, or that is too large.

    Args:
        check_scaling: Raises for a deployment whose scaling is not possible.
        max_bytes: For the code, that in options included, and bound arguments of one deployment.
    """
    known = plugins.routing_policies
    for spec in planned.expansion.deployments:
        factory = known.get(spec.config.policy_name)
        if factory is None:
            raise ConfigError(
                f"{spec.id}: no installed plugin gives a routing policy "
                f"{spec.config.policy_name!r}; there are {sorted(known)}."
            )
        build_parameters(f"{spec.id}: routing_policy", factory, spec.config.policy_parameters)
        check_scaling(spec)
        check_size(spec, max_bytes)
        check_caller_options(spec, plugins.deployment_sections)
