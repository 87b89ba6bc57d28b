"""Model multiplexing, many models in a few replicas: `@serve.multiplexed`."""

from __future__ import annotations

from ._decorator import Multiplexed, get_multiplexed_model_id, multiplexed

__all__ = ["Multiplexed", "get_multiplexed_model_id", "multiplexed"]
