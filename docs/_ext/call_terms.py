"""Add how long a caller waits for a method of a protocol, and whether the call may be repeated."""

from __future__ import annotations

from typing import Any

from alacarte.actors import CallTerms, terms_of


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    # After the docstring has become reStructuredText, and before napoleon makes fields of it.
    app.connect("autodoc-process-docstring", process, priority=450)
    return {"parallel_read_safe": True}


def process(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Add a sentence after the first paragraph of a method that declares its terms."""
    terms = terms_of(found) if what == "method" else None
    if terms is not None:
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", describe(terms)]


def describe(terms: CallTerms) -> str:
    """Return a sentence with the terms of a call."""
    if terms.timeout_s is None:
        timeout = "Waits for an event, without a timeout"
    elif terms.extended_by:
        timeout = f"The caller waits `{terms.extended_by}` and {terms.timeout_s:g} s more"
    else:
        timeout = f"The caller waits {terms.timeout_s:g} s"
    repeated = "may be repeated" if terms.repeatable else "is not repeated"
    blocked = "" if terms.needs_loop else ", answered also while the event loop is blocked"
    return f"{timeout}; {repeated}{blocked}."
