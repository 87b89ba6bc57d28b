"""The name of a deployment."""

from __future__ import annotations

from typing import NamedTuple


class DeploymentId(NamedTuple):
    """A deployment's name within its application. `str()` gives `application#name`.

    Where calls are made, one without an application stands for the route of that name: each call
    takes one of its targets. Among a route's targets, one without a name stands for the ingress
    deployment of its application.
    """

    app: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}#{self.name}" if self.app else f"route {self.name}"
