"""The version of alacarte-cli."""

__version__ = "0.1.0"
