"""Report how the code and the documentation are worded, beside code that reads well.

`nox -s words` runs this. The report fails nothing: a sentence that is bent to please a counter is
worse than the sentence before. Facts about words that can be checked are contract tests
(`tests/contract/test_docstrings.py`, `test_twin_names.py`); the glossary is
`docs/contributing/words.md`.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELS = ["pluggy", "h11", "httpcore", "starlette"]
"""Packages whose docstrings we would like to have written."""

WORDS = {
    "what": r"what(?:ever)?",
    "it": r"it|its|itself",
    "one": r"ones?",
    "tell/say": r"tells?|told|says?|said",
    "nobody": r"nobody|somebody|whoever|nothing",
    "those": r"those",
}
"""Column -> the words that it counts. Each makes a reader look for a noun."""

PATTERNS = {
    column: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for column, words in WORDS.items()
}
PRONOUN_FIRST = re.compile(
    r"(?:what|how|where|when|which|who|whoever|it|its|this|these|those|they|that|one|nobody"
    r"|somebody)\b",
    re.IGNORECASE,
)
"""Beginnings of a first line that leave the noun for later. "Whether" is not among them: for a
boolean attribute it is the usual form."""

WORST = 20


@dataclass(frozen=True)
class Passage:
    """A docstring, a comment, or a paragraph of a page."""

    place: str
    text: str
    is_docstring: bool = False


@dataclass
class Figures:
    """Counts over many passages.

    Attributes:
        counts: Column of `WORDS` -> occurrences.
        pronoun_first: Docstrings whose first line begins with a pronoun.
        any_: Uses of `typing.Any`.
    """

    words: int = 0
    docstrings: int = 0
    pronoun_first: int = 0
    lines: int = 0
    any_: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))

    def add(self, passage: Passage) -> None:
        """Count the words of a passage."""
        text = without_code(passage.text)
        self.words += len(text.split())
        for column, pattern in PATTERNS.items():
            self.counts[column] += len(pattern.findall(text))
        if passage.is_docstring:
            self.docstrings += 1
            self.pronoun_first += bool(PRONOUN_FIRST.match(text))

    def add_source(self, source: str) -> None:
        """Count the lines of a module, and its uses of `Any`."""
        self.lines += source.count("\n")
        self.any_ += len(re.findall(r"\bAny\b", source))

    def merge(self, other: Figures) -> None:
        """Add the counts of other passages."""
        self.words += other.words
        self.docstrings += other.docstrings
        self.pronoun_first += other.pronoun_first
        self.lines += other.lines
        self.any_ += other.any_
        for column, count in other.counts.items():
            self.counts[column] += count

    def row(self, name: str) -> list[str]:
        """Return the cells of the report's line."""
        per_1000 = [f"{1000 * count / max(self.words, 1):.1f}" for count in self.counts.values()]
        first = f"{self.pronoun_first}/{self.docstrings}" if self.docstrings else ""
        any_ = f"{1000 * self.any_ / self.lines:.1f}" if self.lines else ""
        return [name, str(self.words), *per_1000, first, any_]


def without_code(text: str) -> str:
    """Return prose with its literals, doctests and links' targets taken out."""
    text = re.sub(r"``[^`]*``|`[^`]*`|\]\([^)]*\)", " ", text)
    return re.sub(r"(?m)^\s*(?:>>>|\.\.\.).*$", " ", text)


def passages_of(path: Path, shown: str) -> Iterator[Passage]:
    """Return the docstrings and comments of a module."""
    source = path.read_text()
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield Passage(f"{shown}:{node.body[0].lineno}", text, is_docstring=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Passage(f"{shown}:{token.start[0]}", token.string.lstrip("# "))


def paragraphs_of(path: Path, shown: str) -> Iterator[Passage]:
    """Return the paragraphs of a Markdown page, without its code blocks and directives."""
    line, fenced = 1, False
    for block in re.split(r"(\n\s*\n)", path.read_text()):
        prose = []
        for each in block.split("\n"):
            if re.match(r"\s*(?:```|:::)", each):
                fenced = not fenced
            elif not fenced and not each.lstrip().startswith((":", "|---", "..")):
                prose.append(each)
        if text := "\n".join(prose).strip():
            yield Passage(f"{shown}:{line}", text)
        line += block.count("\n")


def weak(passages: Iterable[Passage]) -> list[tuple[float, Passage]]:
    """Return the passages that most want a second look, worst first.

    A passage is the worse, the more of its words are among `WORDS`; a first line that begins with a
    pronoun counts as three. Short ones weigh less: a pronoun among four words is soon resolved.
    """
    found = []
    for passage in passages:
        text = without_code(passage.text)
        hits = sum(len(pattern.findall(text)) for pattern in PATTERNS.values())
        hits += 3 * (passage.is_docstring and bool(PRONOUN_FIRST.match(text)))
        if hits > 1:
            found.append((hits / (len(text.split()) + 12), passage))
    return sorted(found, key=lambda each: -each[0])


def installed(name: str) -> Path:
    """Return the folder of an installed package.

    Raises:
        SystemExit: The package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"{name} is not installed; run `nox -s words`, which installs the models")
    return Path(spec.origin).parent


def figures_of(folder: Path, shown: str) -> tuple[Figures, list[Passage]]:
    """Return the figures and passages of all modules below a folder."""
    figures, passages = Figures(), []
    for path in sorted(folder.rglob("*.py")):
        figures.add_source(path.read_text())
        passages += passages_of(path, f"{shown}/{path.relative_to(folder)}")
    for passage in passages:
        figures.add(passage)
    return figures, passages


def pages() -> list[Path]:
    """Return the pages of the documentation and the README files."""
    found = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("packages/*/README.md")]
    return sorted(path for path in found if "_build" not in path.parts)


def show(rows: Iterable[list[str]]) -> None:
    """Print rows of cells as aligned columns, the first one to the left."""
    table = list(rows)
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    for name, *cells in table:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print("  ".join([name.ljust(widths[0]), *aligned]))


def show_worst(passages: Iterable[Passage]) -> None:
    """Print the first lines of the passages that most want a second look."""
    for score, passage in weak(passages)[:WORST]:
        first = " ".join(passage.text.split())
        print(f"{score:.2f}  {passage.place}\n      {first[:100]}")


def report(folders: Mapping[str, Path]) -> None:
    """Print the figures of the code and of the documentation, and what to look at first."""
    header = ["per 1,000 words", "words", *WORDS, "pronoun first", "Any/1,000 lines"]
    rows, passages, total = [header], [], Figures()
    for name, folder in folders.items():
        figures, found = figures_of(folder, str(folder.relative_to(ROOT)))
        rows.append(figures.row(name))
        passages += found
        total.merge(figures)
    rows.append(total.row("all of ours"))
    rows += [figures_of(installed(name), name)[0].row(name) for name in MODELS]
    show(rows)
    print(f"\nThe {WORST} docstrings and comments that most want a second look:")
    show_worst(passages)

    rows, passages, total = [header], [], Figures()
    for path in pages():
        figures, shown = Figures(), str(path.relative_to(ROOT))
        for passage in paragraphs_of(path, shown):
            figures.add(passage)
            passages.append(passage)
        rows.append(figures.row(shown))
        total.merge(figures)
    print()
    show([*rows, total.row("all pages")])
    print(f"\nThe {WORST} paragraphs of the documentation that most want a second look:")
    show_worst(passages)


if __name__ == "__main__":
    report({path.parents[1].name: path for path in sorted(ROOT.glob("packages/*/src/*"))})
