"""Names of `ray.serve.autoscaling_policy`, for programs of Ray Serve; plugins provide them."""

from __future__ import annotations

from ._api_names import module_getattr

__getattr__ = module_getattr("autoscaling_policy")
