"""What the README says of other files of the repository is what they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of each line of the tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_benchmark_table_is_an_extract():
    """Each figure of the README stands in the last results, in the row of the same work."""
    table = README.partition("<!-- benchmark table -->")[2]
    shown = rows(table)[2:]
    results = (ROOT / "benchmarks/results/latest.md").read_text(encoding="utf-8")
    by_peer = {(row[0], row[2]): row for row in rows(results) if len(row) >= 7}
    assert len(shown) == 4
    for work, ours, theirs, ratio in shown:
        row = by_peer[work, "Ray Serve"]
        assert [ours, theirs, ratio] == [row[1].split()[0], row[3].split()[0], row[4]], work
    [starlette] = re.findall(r"answers ([\d,]+) requests per second of the first row", table)
    assert by_peer[shown[0][0], "Starlette"][3].split()[0] == starlette


def test_every_package_is_listed():
    """The table of packages has all that there are but the set itself."""
    listed = re.findall(r"^\| \[`alacarte-(\w+)`\]\(packages/(\w+)\)", README, re.M)
    packages = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")} - {"serve"}
    assert {name for name, _ in listed} == {folder for _, folder in listed} == packages


def test_sessions_it_names_exist():
    """Each command that starts nox names a session of the noxfile."""
    named = re.findall(r"nox -s ([\w]+)", README)
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M)
    assert {"demo", "quick", "bench"} <= set(named) <= set(sessions)
