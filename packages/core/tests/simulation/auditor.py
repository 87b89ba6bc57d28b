"""Checks at the end of a run that the controller's status is right and stays right."""

from __future__ import annotations

import asyncio

from alacarte.status import ApplicationStatus, ServeStatus

from .clients import begun, tried
from .world import World

__all__ = ["Auditor"]

_RETRY_PAUSE_S = 1.0
_CALM_S = 4.0
"""Time for which the status must stay right."""


class Auditor:
    """Polls the status until it is right, then checks that it stays right.

    Attributes:
        is_content: The status became right and stayed so.
        reason: The difference found last.
    """

    def __init__(self, world: World) -> None:
        self.is_content = False
        self.reason = "the status was not read yet"
        self._world = world
        self.process = world.process("auditor")
        self.process.post(0.0, self._begin)

    def _begin(self) -> None:
        self.task = self.process.create_task(self._work())

    async def _work(self) -> None:
        connection = await begun(self._world)
        while True:
            status = await tried(connection.controller().status())
            if status is not None:
                self.reason = self._wrong(status)
                if not self.reason:
                    break
            await asyncio.sleep(_RETRY_PAUSE_S)
        ledger = self._world.ledger
        before = ledger.starts
        await asyncio.sleep(_CALM_S)
        if ledger.starts != before and not any(replica.sick for replica in ledger.living()):
            ledger.find("what is as it should be is left alone", ledger.starts - before, "starts")
        self.is_content = True

    def _wrong(self, status: ServeStatus) -> str:
        """Return the difference between the status and the expected one, "" for none."""
        operations = self._world.operations
        wanted = {app: op for app in operations.ops if (op := operations.last(app)) and op.specs}
        if status.applications.keys() != wanted.keys():
            return f"there are {sorted(status.applications)}, not {sorted(wanted)}"
        for app, op in wanted.items():
            found = status.applications[app]
            should = ApplicationStatus.RUNNING if op.is_valid else ApplicationStatus.DEPLOY_FAILED
            if found.status is not should:
                return f"{app} is {found.status}, not {should}: {found.message}"
        return ""
