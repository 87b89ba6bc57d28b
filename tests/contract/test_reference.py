"""The reference lists whatever plugins may import."""

from __future__ import annotations

import re
from pathlib import Path

from alacarte import types

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "plugin-api.md"


def test_the_reference_describes_every_type():
    """Each name of `alacarte.types` stands once under the heading of its subject."""
    text = PAGE.read_text(encoding="utf-8")
    [section] = re.findall(r"^## `alacarte\.types`$(.*?)^## ", text, re.M | re.S)
    described = re.findall(r"^\.\. (?:autoclass|data):: (\w+)$", section, re.M)
    assert sorted(described) == sorted(types.__all__)
