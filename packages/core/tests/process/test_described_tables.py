"""The tables of routes and applications in a process, and their listeners."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte._process.application_watch import ApplicationWatch
from alacarte._process.described_tables import DescribedTables
from alacarte.actors import RoutedDeployment, TableSnapshot
from alacarte.types import ApplicationTable, DeploymentId, DeploymentInfo, Route

MODEL = DeploymentId("shop", "Model")
ROUTE = Route("/a", "shop", {MODEL: 1.0})


class Tables:
    """The tables of a process with one application, `shop`."""

    def __init__(self) -> None:
        self.described: list[Any] = []
        self.tables = DescribedTables(self.describe)

    def describe(self, deployment: DeploymentId, version: str, options: Any) -> DeploymentInfo:
        self.described.append(options)
        return DeploymentInfo(deployment, version)

    def table(self, version: int, *routes: Route, code: str = "v1", **options: Any) -> Any:
        routed = {MODEL: RoutedDeployment(code, options)}
        return self.tables.table(
            TableSnapshot(version, routes, frozenset({"shop"}), {"shop": MODEL}, routed)
        )


def test_a_table_describes_its_deployments():
    """Infos have the options, and are rebuilt only when options or code have changed."""
    tables = Tables()
    first = tables.table(1, ROUTE, cache={"ttl_s": 5})
    assert (first.version, first.routes, first.starting) == (1, (ROUTE,), {"shop"})
    assert first.deployments == {MODEL: DeploymentInfo(MODEL, "v1")}
    assert first.applications["shop"].ingress is first.deployments[MODEL]
    second = tables.table(2, cache={"ttl_s": 5})
    assert second.deployments[MODEL] is first.deployments[MODEL]
    tables.table(3, cache={"ttl_s": 6})
    tables.table(4, code="v2", cache={"ttl_s": 6})
    assert tables.described == [{"cache": {"ttl_s": ttl_s}} for ttl_s in (5, 6, 6)]


def test_only_changes_of_applications_are_passed_on():
    """Their options and code included; a change of routes alone is none of them."""
    tables, seen = Tables(), []
    watch = ApplicationWatch(seen.append)
    watch(tables.table(1))
    watch(tables.table(2, ROUTE))
    watch(tables.table(3, ROUTE, cache={"ttl_s": 5}))
    watch(tables.tables.table(TableSnapshot(4, ())))
    assert [table.version for table in seen] == [1, 3, 4]
    assert seen[0].applications["shop"].name == "shop"
    assert seen[-1] == ApplicationTable(4, {})


def test_a_table_that_could_not_be_taken_is_passed_on_again():
    """After a failing listener, the same table is passed on again."""
    seen: list[ApplicationTable] = []

    def change(table: ApplicationTable) -> None:
        seen.append(table)
        if len(seen) == 1:
            raise RuntimeError("not now")

    watch, table = ApplicationWatch(change), Tables().table(1)
    with pytest.raises(RuntimeError, match="not now"):
        watch(table)
    watch(table)
    assert [each.version for each in seen] == [1, 1]
