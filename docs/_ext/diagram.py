"""The directive `diagram`: a drawing from text, made when the documentation is built.

```{diagram} boxes
:alt: A client asks the proxy, which asks a replica.
:caption: The way of a request.

client | proxy | replica
client -> proxy: HTTP
proxy -> replica: socket
```

The kinds are `boxes` and `states` (`box_diagram.py`; states have round ends) and `sequence`
(`sequence_diagram.py`). `docs/_pictures/draw.py` makes files of drawings, for pages
without Sphinx.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import box_diagram
import sequence_diagram
import svg
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

KINDS: dict[str, Callable[..., str]] = {
    "boxes": box_diagram.draw,
    "states": lambda source, **options: box_diagram.draw(source, radius=18, **options),
    "sequence": sequence_diagram.draw,
}


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True}


class Diagram(SphinxDirective):
    """A drawing with its description for screen readers and its caption."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012  the form that docutils reads
        "alt": directives.unchanged_required,
        "caption": directives.unchanged,
        "file": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Return the drawing as part of the page, so that it follows light and dark."""
        if self.arguments[0] not in KINDS:
            raise self.error(f"no diagram is called {self.arguments[0]!r}: {', '.join(KINDS)}")
        if "alt" not in self.options:
            raise self.error("a diagram needs :alt:, its description for those who do not see it")
        try:
            drawing = KINDS[self.arguments[0]](self._source())
        except ValueError as error:
            raise self.error(f"diagram: {error}") from None
        alt = html.escape(self.options["alt"], quote=True)
        caption = self.options.get("caption", "")
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        page = (
            f'<figure class="diagram"><div role="img" aria-label="{alt}" tabindex="0">{drawing}'
            f"</div>{below}</figure>"
        )
        return [nodes.raw("", page, format="html")]

    def _source(self) -> str:
        """Return the text of the drawing: the directive's own, or that of `:file:`."""
        if "file" not in self.options:
            return "\n".join(self.content)
        name, path = self.env.relfn2path(self.options["file"])
        self.env.note_dependency(name)
        return Path(path).read_text(encoding="utf-8")


def standalone(kind: str, source: str, colours: dict[str, str]) -> str:
    """Return a drawing with its colours, as a file of its own."""
    return KINDS[kind](source, style=svg.STYLE.format(**colours))
