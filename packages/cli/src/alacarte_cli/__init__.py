"""The `serve` and `alacarte` programs: run and look after alacarte from a shell."""

from .__about__ import __version__

__all__ = ["__version__"]
