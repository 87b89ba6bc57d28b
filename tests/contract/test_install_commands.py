"""Commands that install: until a release exists, each page has one that works from a clone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]
FROM_INDEX = re.compile(r"pip install (?:[^\n`]* )?\"?alacarte(?![\w.]*/)[\w-]*")
FROM_CLONE = re.compile(r"pip install (?:\S+ )*\"?\./packages/")


def speak_of_installing() -> list[Path]:
    return [page for page in PAGES if FROM_INDEX.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "page", speak_of_installing(), ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_a_page_that_installs_from_the_index_installs_from_a_clone_too(page: Path):
    """`nox -s combinations` tries the very commands."""
    assert FROM_CLONE.search(page.read_text(encoding="utf-8"))


def test_pages_speak_of_installing():
    """The README and each package's own are among them: the pattern finds what it is to find."""
    found = {page.relative_to(ROOT).as_posix() for page in speak_of_installing()}
    assert {"README.md", "docs/how-to/installation.md", "docs/tutorial/index.md"} < found
    assert {
        f"packages/{path.parent.name}/README.md" for path in ROOT.glob("packages/*/README.md")
    } < found


def test_nothing_installs_the_stranger_of_the_same_name():
    """`alacarte` on PyPI is another project; the one page that names it warns of it."""
    stranger = re.compile(r"pip install (?:[^\n`]* )?\"?alacarte(?![\w/-])")
    texts = [(page, page.read_text(encoding="utf-8")) for page in PAGES]
    texts += [
        (path, path.read_text(encoding="utf-8")) for path in ROOT.glob("packages/*/src/**/*.py")
    ]
    named = [path.relative_to(ROOT).as_posix() for path, text in texts if stranger.search(text)]
    assert named == ["docs/how-to/installation.md"]


def test_commands_for_a_clone_name_core_too():
    """Or the index is asked for it, which has no release of it."""
    commands = [
        command
        for page in PAGES
        for command in re.findall(
            r"pip install (?:\"?\./packages/[^\s`\"]+\"? ?)+", page.read_text(encoding="utf-8")
        )
    ]
    assert len(commands) > 8
    wrong = [each for each in commands if not re.search(r"\./packages/(core|\*)", each)]
    assert [each for each in wrong if each.split()[-1] != "./packages/batching"] == []
