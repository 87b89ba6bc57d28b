"""The parameters of a routing policy: what a user writes beside its name, and the model of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._pydantic_errors import config_error
from ..errors import ConfigError
from ..foreign import load_target
from ..types import PolicyFactory

__all__ = ["build_parameters"]


def build_parameters(subject: str, factory: PolicyFactory, given: Mapping[str, Any]) -> Any:
    """Return the validated parameters of a routing policy; None for a policy that takes none.

    Args:
        subject: Whose they are, for errors.
        factory: Of the policy.
        given: By name.

    Raises:
        ConfigError: A parameter is unknown, or its value is not allowed.
    """
    if not factory.parameters:
        if given:
            raise ConfigError(
                f"{subject}: policy {factory.name!r} takes no parameters; leave out "
                f"{', '.join(sorted(given))}."
            )
        return None
    from pydantic import ValidationError  # heavy, and most policies take no parameters

    model = load_target(factory.parameters)
    try:
        return model(**given)
    except ValidationError as error:
        raise config_error(f"{subject} {factory.name!r}", error, model) from None
