"""The table of applications, out of the tables of routes."""

from __future__ import annotations

import pytest

from alacarte._process.application_watch import ApplicationWatch
from alacarte.types import ApplicationInfo, ApplicationTable, DeploymentId, Route, RouteTable

SHOP = ApplicationInfo("shop", DeploymentId("shop", "Model"))
ROUTE = Route("/a", "shop", {SHOP.ingress: 1.0})


def test_only_changes_of_applications_are_passed_on():
    """A change of routes alone is none of them."""
    seen: list[ApplicationTable] = []
    watch = ApplicationWatch(seen.append)
    watch(RouteTable(1, (), applications={"shop": SHOP}))
    watch(RouteTable(2, (ROUTE,), applications={"shop": SHOP}))
    watch(RouteTable(3, (ROUTE,)))
    assert seen == [ApplicationTable(1, {"shop": SHOP}), ApplicationTable(3, {})]


def test_a_table_that_could_not_be_taken_is_passed_on_again():
    """The subscription brings it again, and then it counts."""
    seen: list[ApplicationTable] = []

    def change(table: ApplicationTable) -> None:
        seen.append(table)
        if len(seen) == 1:
            raise RuntimeError("not now")

    watch = ApplicationWatch(change)
    with pytest.raises(RuntimeError, match="not now"):
        watch(RouteTable(1, (), applications={"shop": SHOP}))
    watch(RouteTable(1, (), applications={"shop": SHOP}))
    assert [table.version for table in seen] == [1, 1]
