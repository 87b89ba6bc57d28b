"""Names of `ray.serve.handle`, for programs of Ray Serve; plugins provide them."""

from __future__ import annotations

from ._api_names import module_getattr

__getattr__ = module_getattr("handle")
