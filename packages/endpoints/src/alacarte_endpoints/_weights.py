"""Checks of traffic weights and shadow shares. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

from alacarte.errors import ConfigError

__all__ = ["check_share", "check_weights"]

_TOLERANCE = 1e-8


def check_weights(subject: str, weights: object) -> dict[str, float]:
    """Return the weights of a split, which sum to 1.

    Args:
        subject: The route or endpoint, for errors.

    Raises:
        TypeError: The weights are not a dict from names to numbers.
        ConfigError: A weight is negative or not finite, or the sum is not 1.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"{subject}: traffic must be a dict from names to weights, not {weights!r}."
        )
    for name, weight in weights.items():
        if not isinstance(name, str) or not _is_number(weight):
            raise TypeError(
                f"{subject}: traffic maps names to numbers, not {name!r} to {weight!r}."
            )
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"{subject}: the weight {weight!r} of {name!r} must be 0 or more.")
    total = math.fsum(weights.values())
    if abs(total - 1) > _TOLERANCE:
        raise ConfigError(f"{subject}: weights must sum to 1, not to {total:.9g}; got {weights!r}.")
    return {name: float(weight) for name, weight in weights.items()}


def check_share(subject: str, share: object) -> float:
    """Return the share of requests that a shadow gets copies of.

    Raises:
        TypeError: The share is not a number from 0 to 1.
    """
    if not _is_number(share) or not 0 <= share <= 1:
        raise TypeError(f"{subject}: a shadow's proportion must be from 0 to 1, not {share!r}.")
    return float(share)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
