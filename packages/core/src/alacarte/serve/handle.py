"""`ray.serve.handle`, for programs that move over: names that the installed packages give."""

from __future__ import annotations

from ._api_names import module_getattr

__getattr__ = module_getattr("handle")
