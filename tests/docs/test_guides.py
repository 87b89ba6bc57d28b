"""Guides are built alike: when, an example, options, what can go wrong, how to see it working."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.pages import ROOT

GUIDES = ROOT / "docs" / "how-to"
SECTIONS = ["Example", "Options", "What can go wrong", "How to see it working"]
OTHER_FORMS = {
    "backends-and-endpoints",
    "errors",
    "index",
    "installation",
    "migrating-from-ray-serve",
    "notebooks",
    "performance",
    "production",
    "testing",
    "troubleshooting",
}
"""Pages about no single feature: lists, migrations, and walks through a task."""
FEATURES = [path for path in sorted(GUIDES.glob("*.md")) if path.stem not in OTHER_FORMS]


@pytest.mark.parametrize("guide", FEATURES, ids=lambda path: path.stem)
def test_each_guide_has_the_same_sections(guide: Path):
    """A reader finds example, options, failures and status of each feature in the same order."""
    headings = re.findall(r"^## (.+)$", guide.read_text("utf-8"), flags=re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_each_guide_is_in_the_table_of_contents(guide: Path):
    """The list of guides leads to each of them."""
    contents = (GUIDES / "index.md").read_text("utf-8").splitlines()
    assert guide.stem == "index" or guide.stem in contents
