"""What `bind` returns: a deployment with its constructor's arguments, ready to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .deployment import Deployment

__all__ = ["Application"]


# Compared by identity: the same object bound in two places is one deployment, an equal one is
# another.
@dataclass(frozen=True, eq=False, repr=False)
class Application:
    """A bound deployment and, through its arguments, those it calls.

    Give it to `serve.run`, or bind it as an argument of another deployment.
    """

    deployment: Deployment

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments of the constructor."""
        return self.deployment.init_args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the constructor."""
        return self.deployment.init_kwargs

    def __repr__(self) -> str:
        words = [repr(arg) for arg in self.args]
        words += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"Application({self.deployment.name}.bind({', '.join(words)}))"
