"""What this package uses of `alacarte.serve`, which it imports only when a command needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from alacarte.status import ServeStatus

__all__ = ["Facade", "GetFacade", "GetWaiter", "facade", "waiter"]


class Facade(Protocol):
    """The part of `alacarte.serve` that commands call; tests give a stand-in."""

    @property
    def Application(self) -> type:  # noqa: N802 - a class
        """The class of what `.bind()` returns."""

    @property
    def Deployment(self) -> type:  # noqa: N802 - a class
        """The class of what the decorator returns."""

    def start(
        self,
        *,
        cluster: Literal["local"] | None = None,
        address: str | None = None,
        http_options: dict[str, Any] | None = None,
        foreground: bool = False,
    ) -> object:
        """Start an instance, or join the one that runs."""

    def attach(self, address: str | None = None) -> bool:
        """Join the instance that runs. False when there is none; nothing is ever started."""

    def run(
        self,
        target: Any,
        *,
        name: str = ...,
        route_prefix: str | None = ...,
        timeout_s: float | None = ...,
    ) -> Any:
        """Bring an application up, and return once it answers."""

    def delete(self, name: str) -> None:
        """Delete an application; an unknown name is fine."""

    def status(self) -> ServeStatus:
        """Tell what runs, and how it is."""

    def shutdown(self, *, force: bool = False, address: str | None = None) -> None:
        """End the instance, however far its start had come; by force without asking it."""


GetFacade = Callable[[], Facade]
GetWaiter = Callable[[], Callable[[float], bool]]
"""Gives a function that waits so many seconds for the end of the instance."""


def facade() -> Facade:
    """Import the real one. It takes a while, which `alacarte --help` need not wait for."""
    from alacarte import serve

    return serve


def waiter() -> Callable[[float], bool]:
    """Return what waits for the end of the instance that this process has joined."""
    from alacarte.instance import get_instance

    return get_instance().wait_ended
