"""The search of the documentation, as `searchtools.js` of Sphinx ranks its results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.search.en import SearchEnglish

OBJECT_NAME, OBJECT_PART, OBJECT_PRIORITY = 11, 6, {0: 15, 1: 5, 2: -5}
TITLE, TITLE_PART, TERM, TERM_PART, INDEX_ENTRY = 15, 7, 5, 2, 100
Hit = tuple[float, str, str]
"""Score, title of the result, and name of its page."""


class SearchIndex:
    """The index of a built documentation.

    Entries of an `{index}` directive that begin with `!` count a hundred where the query is the
    whole entry, more than any other match; so a page names the queries that it answers.
    """

    def __init__(self, folder: Path) -> None:
        text = (folder / "searchindex.js").read_text(encoding="utf-8")
        self._index: dict[str, Any] = json.loads(text[text.index("(") + 1 : text.rindex(")")])
        self._language = SearchEnglish({})

    def pages(self, query: str) -> list[str]:
        """Return the names of the pages that a reader is shown for a query, the best first."""
        hits = [*self._titles(query), *self._entries(query), *self._objects(query)]
        hits += self._texts(query)
        hits.sort(key=lambda hit: (-hit[0], hit[1].lower()))
        return list(dict.fromkeys(page for _, _, page in hits))

    def _titles(self, query: str) -> Iterator[Hit]:
        wanted = query.lower()
        for title, places in self._index["alltitles"].items():
            if wanted in title.lower() and len(wanted) >= len(title) / 2:
                for page, _ in places:
                    is_page = self._index["titles"][page] == title
                    yield self._hit(page, round(TITLE * len(wanted) / len(title)) + is_page, title)

    def _entries(self, query: str) -> Iterator[Hit]:
        wanted = query.lower()
        for entry, places in self._index["indexentries"].items():
            if wanted in entry and len(wanted) >= len(entry) / 2:
                for page, _, is_main in places:
                    if is_main:
                        yield self._hit(page, round(INDEX_ENTRY * len(wanted) / len(entry)))

    def _objects(self, query: str) -> Iterator[Hit]:
        words = _words(query.lower())
        for word in words:
            for prefix, objects in self._index["objects"].items():
                for page, kind, priority, _, name in objects:
                    full = f"{prefix}.{name}" if prefix else name
                    last = full.lower().rpartition(".")[2]
                    if word not in full.lower():
                        continue
                    label = self._index["objnames"][str(kind)][2]
                    around = f"{prefix} {name} {label} {self._index['titles'][page]}".lower()
                    if any(other not in around for other in words if other != word):
                        continue
                    score = OBJECT_PRIORITY.get(priority, 0)
                    if word in (full.lower(), last):
                        score += OBJECT_NAME
                    elif word in last:
                        score += OBJECT_PART
                    yield self._hit(page, score, full)

    def _texts(self, query: str) -> Iterator[Hit]:
        words = [word.lower() for word in _words(query)]
        known = [w for w in words if w not in self._language.stopwords and not w.isdigit()]
        stems = list(dict.fromkeys(self._language.stem(word) for word in known))
        found: dict[int, dict[str, int]] = {}
        for stem in stems:
            for page, score in self._pages_with(stem):
                found.setdefault(page, {})[stem] = score
        long = [stem for stem in stems if len(stem) > 2]
        for page, scores in found.items():
            if len(scores) in (len(stems), len(long)):
                yield self._hit(page, max(scores.values()))

    def _pages_with(self, stem: str) -> Iterator[tuple[int, int]]:
        for terms, whole, part in (
            (self._index["terms"], TERM, TERM_PART),
            (self._index["titleterms"], TITLE, TITLE_PART),
        ):
            if stem in terms:
                yield from ((page, whole) for page in _many(terms[stem]))
            elif len(stem) > 2:
                for term, pages in terms.items():
                    if stem in term:
                        yield from ((page, part) for page in _many(pages))

    def _hit(self, page: int, score: float, title: str = "") -> Hit:
        return score, title or self._index["titles"][page], self._index["docnames"][page]


def _words(query: str) -> list[str]:
    return [word for word in re.split(r"[^\w]+", query.strip()) if word]


def _many(pages: int | list[int]) -> list[int]:
    return [pages] if isinstance(pages, int) else pages
