"""The limit for the size of a deployment. Pure, and light: drivers check before they send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from .caller_options import codes_in

if TYPE_CHECKING:
    from .deployment_spec import DeploymentSpec

__all__ = ["check_size"]


def check_size(spec: DeploymentSpec, limit_bytes: int) -> None:
    """Raise ConfigError for a deployment whose code and bound arguments exceed a limit.

    Functions and classes in options count as code.
    """
    code = len(spec.code) + sum(len(each.code) for each in codes_in(spec.all_options))
    size = code + len(spec.init)
    if size > limit_bytes:
        larger = "arguments of bind()" if len(spec.init) > code else "code"
        raise ConfigError(
            f"{spec.id}: its code and the arguments of bind() take {_mib(size)}, most of it the "
            f"{larger}; the limit is {_mib(limit_bytes)}. Load the data in the constructor and "
            "bind its path, or raise cluster_options.max_bound_bytes of serve.start()."
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.1f} MiB"
