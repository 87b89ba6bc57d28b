"""The version of alacarte-handles."""

__version__ = "0.1.0"
