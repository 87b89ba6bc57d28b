"""Identifier of a deployment."""

from __future__ import annotations

from typing import NamedTuple


class DeploymentId(NamedTuple):
    """An application and the name of a deployment in it. `str()` returns `application#name`.

    In the argument of a call, an id without an application means the route of that name: each call
    goes to one of the route's targets. Among the targets of a route, an id without a name means the
    ingress deployment of the application.
    """

    app: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}#{self.name}" if self.app else f"route {self.name}"
