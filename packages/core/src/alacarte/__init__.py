"""alacarte: model and application serving for Python, à la carte.

`from alacarte import serve` is the way in. Importing this package loads nothing else, so
that a program which only declares deployments starts fast.
"""

from .__about__ import __version__
from ._compiled import use_compiled_modules

__all__ = ["__version__"]

use_compiled_modules()
