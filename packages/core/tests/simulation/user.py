"""The user code of the simulated replicas, which behaves as the scenario says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Behaviour", "Model", "UserError"]


class UserError(Exception):
    """User code that fails on purpose."""


@dataclass(frozen=True)
class Behaviour:
    """Behaviour of one version of the user code.

    Attributes:
        number: Number of the version.
        start: "good", "raises", or "hangs".
        start_s: Duration of the constructor.
        refuses: The `user_config` that `reconfigure` refuses.
    """

    number: int
    start: str = "good"
    start_s: float = 0.0
    refuses: int = -1


class Place(Protocol):
    """The replica that runs the user code, as the ledger sees it."""

    sick: bool

    def began(self, request: int) -> None:
        """A request is being worked on."""

    def ended(self, request: int) -> None:
        """Record the end of a request, with any outcome."""


class Model:
    """The user's class."""

    async def __init__(self, behaviour: Behaviour) -> None:  # type: ignore[misc]
        """Awaited, since constructors are where they are coroutines."""
        self.behaviour = behaviour
        self.user_config: Any = None
        self.place: Place = asyncio.get_running_loop().place  # type: ignore[attr-defined]
        await asyncio.sleep(behaviour.start_s)
        if behaviour.start == "raises":
            raise UserError(f"version {behaviour.number} does not start")
        if behaviour.start == "hangs":
            await asyncio.Event().wait()

    async def __call__(self, request: int, work_s: float) -> tuple[int, Any]:
        place = self.place
        place.began(request)
        try:
            await asyncio.sleep(work_s)
        finally:
            place.ended(request)
        return self.behaviour.number, self.user_config

    async def reconfigure(self, user_config: Any) -> None:
        await asyncio.sleep(0.01)
        if user_config == self.behaviour.refuses:
            raise UserError(f"user_config {user_config} is not taken")
        self.user_config = user_config

    async def check_health(self) -> None:
        if self.place.sick:
            raise UserError("not well")
