"""The drawings and figures of the front pages are those of their sources."""

from __future__ import annotations

import json
import sys

import pytest
from tests.docs.pages import ROOT

for folder in ("docs/_ext", "docs/_pictures"):
    sys.path.insert(0, str(ROOT / folder))
import box_diagram  # noqa: E402  an extension of the documentation's
import draw  # noqa: E402
import figures  # noqa: E402
import sequence_diagram  # noqa: E402


@pytest.mark.parametrize("name", draw.pictures())
def test_files_are_current(name: str):
    """`python docs/_pictures/draw.py` would write the files as they are."""
    written = (ROOT / "docs" / "_static" / name).read_text(encoding="utf-8")
    assert written == draw.pictures()[name] + "\n"


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_figures_are_current(page):
    """`python docs/_pictures/figures.py` would write the block of figures as it is."""
    results = json.loads(figures.RESULTS.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert figures.BEGIN in text
    assert figures.written(text, figures.block(results)) == text


def test_a_box_that_is_not_there_is_named():
    """A misspelt name in an arrow is an error that lists the boxes, not a missing arrow."""
    with pytest.raises(ValueError, match="no box 'proxi'; there are client, proxy"):
        box_diagram.draw("client | proxy\nclient -> proxi")
    with pytest.raises(ValueError, match="no participant 'proxi'; there are client, proxy"):
        sequence_diagram.draw("client | proxy\nclient -> proxi: GET /")


@pytest.mark.parametrize(
    "arrow",
    ["a -> b", "b -> a: back", "a <-> d: both / ways", "a --> c", "c -> a", "a -> e", "b -> d"],
)
def test_every_arrow_is_drawn(arrow: str):
    """Along a row, a column, with a turn, around a box, and straight across."""
    drawing = box_diagram.draw(f"a | b | c\nd | < | e\n{arrow}")
    assert drawing.count('class="arrow') == 1
    assert "nan" not in drawing
