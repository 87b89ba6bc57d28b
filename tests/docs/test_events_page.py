"""The page of examples/events shows a stream of events in a browser."""

from __future__ import annotations

import sys

import pytest
from tests.docs.chromium import CHROMIUM, open_page
from tests.docs.pages import ROOT

from alacarte import serve
from alacarte.testing import local_instance, wait_until


@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_words_appear_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    """The page shows words before the stream has ended, then all of them, once."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "events")
    monkeypatch.delitem(sys.modules, "main", raising=False)
    import main

    with local_instance() as url, open_page() as page:
        serve.run(main.app)
        page.open(f"{url}/?prompt=Why")
        lengths = set[int]()

        def is_complete() -> bool:
            lengths.add(page.evaluate("document.getElementById('answer')?.textContent.length || 0"))
            return page.evaluate("document.getElementById('state')?.textContent") == "complete"

        wait_until(is_complete, 30)
        answer = page.evaluate("document.getElementById('answer').textContent")
    assert answer.split() == f"Why {main.ANSWER}".split()
    assert len(lengths - {0, len(answer)}) >= 3  # more and more words
    sys.modules.pop("main")
