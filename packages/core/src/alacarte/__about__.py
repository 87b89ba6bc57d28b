"""The version of alacarte-core."""

__version__ = "0.1.0"
