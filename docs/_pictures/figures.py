"""Write the figures of the front pages from their results: `python docs/_pictures/figures.py`.

The block stands in README.md and docs/index.md. This makes the results:

    python benchmarks/run.py --only hello,two_hop,handles,update \\
        --peers alacarte,starlette,ray,ray-fast --output benchmarks/results/front-page
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "front-page.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md")
BEGIN = "<!-- figures: docs/_pictures/figures.py writes this block -->\n"
END = "<!-- end of figures -->"
ROWS = (
    ("HTTP, 32 connections", "requests/s", "hello_32_rps", True),
    ("HTTP through two deployments, 32 connections", "requests/s", "two_hop_32_rps", True),
    ("Calls through a handle, 32 at a time", "calls/s", "handle_32_per_s", True),
    ("Rolling update of 8 replicas", "s", "update_8_s", False),
)
"""What is measured, its unit, its name in the results, and whether more is better."""
PEERS = {"ray": "Ray Serve", "ray-fast": "Ray Serve, fast mode"}

sys.path.insert(0, str(ROOT / "benchmarks"))
from harness.report import number  # noqa: E402  the benchmarks are no package


def block(results: dict[str, Any]) -> str:
    """Return the table and its caption."""
    head = ["", "alacarte", *PEERS.values()]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    figures = results["results"]
    for work, unit, metric, more_is_better in ROWS:
        ours = median(figures[metric]["alacarte"])
        cells = [f"{work} ({unit})", f"**{number(ours)}**"]
        for peer in PEERS:
            cells.append(compared(ours, figures[metric].get(peer, ()), more_is_better))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" + caption(results) + "\n"


def compared(ours: float, values: list[float], more_is_better: bool) -> str:
    """Return a peer's figure, and by how much ours is the better one."""
    if not values:
        return "not measured"
    theirs = median(values)
    ratio = ours / theirs if more_is_better else theirs / ours
    if ratio >= 1:
        return f"{number(theirs)} ({number(ratio)}&nbsp;×&nbsp;slower)"
    return f"{number(theirs)} ({number(1 / ratio)}&nbsp;×&nbsp;faster)"


def caption(results: dict[str, Any]) -> str:
    """Return where, when and beside what the figures were measured."""
    machine = results["machine"]
    starlette = number(median(results["results"]["hello_32_rps"]["starlette"]))
    ray = machine["versions"]["ray"]["ray"]
    return (
        f"The same programs on each, on {machine['cores']} shared cores ({machine['processor']}) "
        f"with the load generator among them; Ray {ray}, {machine['date'][:10]}. Ray Serve's fast "
        "mode puts HAProxy in front and sends requests by gRPC. Starlette alone, in one process, "
        f"reaches {starlette} requests/s in the first row's test."
    )


def written(page: str, figures: str) -> str:
    """Return a page with the block in its place."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n{figures}\n{END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        path.write_text(written(text, block(results)), encoding="utf-8")
