"""The program as `python -m alacarte_cli`, which works where `serve` is another program's."""

import sys

from .main import main

sys.exit(main())
