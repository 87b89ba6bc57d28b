"""What holds for the tests of all packages."""

from __future__ import annotations

from hypothesis import settings

# A deadline measures the machine, not the code: a loaded one would fail what is right.
settings.register_profile("unhurried", deadline=None)
settings.register_profile("few", settings.get_profile("unhurried"), max_examples=10)
settings.load_profile("unhurried")
