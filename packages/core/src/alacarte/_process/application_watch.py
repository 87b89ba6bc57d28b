"""The part of the route table that names applications, for those who need nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..types import ApplicationInfo, ApplicationTable, RouteTable

__all__ = ["ApplicationWatch"]


class ApplicationWatch:
    """Takes route tables and passes on the applications where they have changed.

    Args:
        changed: Called with each new table of applications.
    """

    def __init__(self, changed: Callable[[ApplicationTable], None]) -> None:
        self._changed = changed
        self._last: ApplicationTable | None = None

    def __call__(self, table: RouteTable) -> None:
        """Take a newer table; one that cannot be passed on counts as not taken."""
        if self._last is not None and _same(self._last.applications, table.applications):
            return
        taken = ApplicationTable(table.version, table.applications)
        self._changed(taken)
        self._last = taken


def _same(one: Mapping[str, ApplicationInfo], other: Mapping[str, ApplicationInfo]) -> bool:
    """Return whether both say the same, options included, which an info does not compare."""
    return one.keys() == other.keys() and all(
        info.ingress is other[name].ingress for name, info in one.items()
    )
