"""The version of alacarte-batching."""

__version__ = "0.1.0"
