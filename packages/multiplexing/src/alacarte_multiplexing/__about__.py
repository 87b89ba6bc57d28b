"""The version of alacarte-multiplexing."""

__version__ = "0.1.0"
