"""The version of alacarte-http."""

__version__ = "0.1.0"
