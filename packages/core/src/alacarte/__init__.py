"""alacarte: model and application serving for Python, à la carte.

`from alacarte import serve` is the way in. Importing this package loads nothing else, so
that a program which only declares deployments starts fast.
"""

from .__about__ import __version__

__all__ = ["__version__"]
