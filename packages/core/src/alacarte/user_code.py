"""Code of users in processes of plugins: sent as bytes, loaded, run, and its failures described.

A user's function or class leaves the user's program as bytes and is loaded in the process that runs
it, and nowhere else: a process that serves everybody must not import users' modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ._cluster.host import LoopThread
from ._model.pickling import load_code
from ._wire.failures import user_traceback
from .errors import ConfigError
from .foreign import describe_error
from .types import DeploymentId

__all__ = ["LoopThread", "describe_error", "load", "user_traceback"]


def load(code: bytes, subject: str) -> Callable[..., Any]:
    """Return the function or class that was sent as bytes, with its modules imported.

    Args:
        code: As `ScaledDeployment.code`; the import paths of the program are on `sys.path`.
        subject: What holds the code, for the error, such as "an autoscaling policy".

    Raises:
        ConfigError: The code holds a bound deployment, which has no handle here.
        Exception: Whatever importing the user's modules raises.
    """

    def refuse(deployment: DeploymentId) -> NoReturn:
        raise ConfigError(f"{subject} cannot call deployments, but this one holds {deployment}")

    return load_code(code, refuse)
