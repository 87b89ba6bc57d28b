"""The version of alacarte-autoscaling."""

__version__ = "0.1.0"
