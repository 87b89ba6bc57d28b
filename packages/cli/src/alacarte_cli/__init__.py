"""The command line of alacarte: the programs `serve` and `alacarte`."""

from .__about__ import __version__

__all__ = ["__version__"]
