"""The version of alacarte-endpoints."""

__version__ = "0.1.0"
