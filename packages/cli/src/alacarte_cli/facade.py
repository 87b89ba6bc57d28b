"""The part of `alacarte.serve` that commands use, imported when a command needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from alacarte.status import ServeStatus

__all__ = ["Facade", "GetFacade", "GetWaiter", "facade", "waiter"]


class Facade(Protocol):
    """The part of `alacarte.serve` that commands call; tests pass a fake."""

    @property
    def Application(self) -> type:  # noqa: N802 - a class
        """The class of applications, which `.bind()` returns."""

    @property
    def Deployment(self) -> type:  # noqa: N802 - a class
        """The class of deployments, which the decorator returns."""

    def start(
        self,
        *,
        cluster: Literal["local"] | None = None,
        address: str | None = None,
        http_options: Mapping[str, object] | None = None,
        foreground: bool = False,
    ) -> object:
        """Start an instance, or join the running instance."""

    def attach(self, address: str | None = None) -> bool:
        """Join the running instance; return whether there is one. Starts nothing."""

    def run(
        self,
        target: Any,
        *,
        name: str = ...,
        route_prefix: str | None = ...,
        timeout_s: float | None = ...,
    ) -> object:
        """Deploy an application, and return once it runs."""

    def delete(self, name: str) -> None:
        """Delete an application; an unknown name is no error."""

    def status(self) -> ServeStatus:
        """Return the status of the instance."""

    def shutdown(self, *, force: bool = False, address: str | None = None) -> None:
        """Shut the instance down, even one that is starting; by force without its controller."""


GetFacade = Callable[[], Facade]
GetWaiter = Callable[[], Callable[[float], bool]]
"""Returns a function that waits a number of seconds for the end of the instance."""


def facade() -> Facade:
    """Import and return `alacarte.serve`, which takes too long for `alacarte --help`."""
    from alacarte import serve

    return serve


def waiter() -> Callable[[float], bool]:
    """Return a function that waits for the end of the instance of this process."""
    from alacarte.instance import get_instance

    return get_instance().wait_ended
