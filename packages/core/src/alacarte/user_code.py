"""Code of users in processes of plugins: sent as bytes, loaded and run.

A user's function or class leaves the user's program as bytes and is loaded in the process that runs
it, and nowhere else: a process that serves everybody must not import users' modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ._cluster.host import LoopThread
from ._model.pickling import load_code
from ._wire.error_codec import user_traceback
from .errors import ConfigError
from .types import DeploymentId, UserCode

__all__ = ["LoopThread", "load", "user_traceback"]


def load(code: UserCode, subject: str) -> Callable[..., Any]:
    """Return the function or class that was sent as bytes, with its modules imported.

    Its import paths are put in front of this process's `sys.path`.

    Args:
        code: As the model of a deployment's option has it.
        subject: What holds the code, for the error, such as "an autoscaling policy".

    Raises:
        ConfigError: The code holds a bound deployment, which has no handle here. Or this process
            calls the deployment, and only its replicas and helper processes get code.
        Exception: Whatever importing the user's modules raises.
    """

    def refuse(deployment: DeploymentId) -> NoReturn:
        raise ConfigError(f"{subject} cannot call deployments, but this one holds {deployment}")

    if not code.code:
        raise ConfigError(
            f"{subject}: the code of {code.name} is not here; processes that call a deployment get "
            "its name and digest alone. Load it in a replica."
        )
    for path in reversed(code.import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    return load_code(code.code, refuse)
