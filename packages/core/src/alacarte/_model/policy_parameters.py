"""The parameters of a routing policy, which a user sets beside the policy's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._pydantic_errors import config_error
from ..errors import ConfigError
from ..foreign import load_target
from ..types import PolicyFactory

__all__ = ["build_parameters"]


def build_parameters(subject: str, factory: PolicyFactory, values: Mapping[str, object]) -> Any:
    """Return the validated parameters of a routing policy; None for a policy that takes none.

    Args:
        subject: The deployment, for errors.
        factory: Factory of the policy.
        values: Values of the parameters, by name.

    Raises:
        ConfigError: A parameter is unknown, or its value is not allowed.
    """
    if not factory.parameters:
        if values:
            raise ConfigError(
                f"{subject}: policy {factory.name!r} takes no parameters; leave out "
                f"{', '.join(sorted(values))}."
            )
        return None
    from pydantic import ValidationError  # heavy, and most policies take no parameters

    model = load_target(factory.parameters)
    try:
        return model(**values)
    except ValidationError as error:
        raise config_error(f"{subject} {factory.name!r}", error, model) from None
