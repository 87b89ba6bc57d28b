"""alacarte: model and application serving for Python, à la carte.

Programs start with `from alacarte import serve`. Importing this package loads nothing else, so a
program that only declares deployments starts fast.
"""

from .__about__ import __version__

__all__ = ["__version__"]
