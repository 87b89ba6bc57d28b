"""The program as `python -m alacarte_cli`, which works whoever owns the name `serve`."""

import sys

from .main import main

sys.exit(main())
