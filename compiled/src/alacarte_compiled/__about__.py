"""The version of alacarte-compiled: that of the packages it is made from."""

__version__ = "0.1.0"
