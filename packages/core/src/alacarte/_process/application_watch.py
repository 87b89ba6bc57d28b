"""A listener for route tables that passes on changes of the applications only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..types import ApplicationInfo, ApplicationTable, RouteTable

__all__ = ["ApplicationWatch"]


class ApplicationWatch:
    """Listens to route tables, and passes on their applications when these have changed.

    Args:
        changed: Called with each new table of applications.
    """

    def __init__(self, changed: Callable[[ApplicationTable], None]) -> None:
        self._changed = changed
        self._last: ApplicationTable | None = None

    def __call__(self, table: RouteTable) -> None:
        """Handle a newer route table. If `changed` raises, the next table is passed on again."""
        if self._last is not None and _equal(self._last.applications, table.applications):
            return
        applications = ApplicationTable(table.version, table.applications)
        self._changed(applications)
        self._last = applications


def _equal(one: Mapping[str, ApplicationInfo], other: Mapping[str, ApplicationInfo]) -> bool:
    """Return whether two tables are equal, options included (`==` of an info ignores those)."""
    return one.keys() == other.keys() and all(
        info.ingress is other[name].ingress for name, info in one.items()
    )
