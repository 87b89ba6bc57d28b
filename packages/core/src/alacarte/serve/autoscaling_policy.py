"""`ray.serve.autoscaling_policy`, for programs that move over: names that packages give."""

from __future__ import annotations

from ._api_names import module_getattr

__getattr__ = module_getattr("autoscaling_policy")
