"""User code in helper processes of plugins: loaded from bytes.

The user's function or class is loaded only in the process that runs it, since processes shared by
all applications must not import user modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ._cluster.loop_thread import LoopThread
from ._model.pickling import load_code
from ._wire.error_codec import user_traceback
from .errors import ConfigError
from .types import DeploymentId, UserCode

__all__ = ["LoopThread", "load", "user_traceback"]


def load(code: UserCode, subject: str) -> Callable[..., Any]:
    """Return the function or class of a `UserCode`, and import its modules.

    Prepends the import paths of the code to this process's `sys.path`.

    Args:
        code: The code, from the model of a deployment's option.
        subject: The owner of the code, for errors: "an autoscaling policy".

    Raises:
        ConfigError: The code refers to a bound deployment, or this process calls the deployment
            and has no code: only replicas and helper processes get code.
        Exception: The import of a user module raises.
    """

    def refuse(deployment: DeploymentId) -> NoReturn:
        raise ConfigError(f"{subject} cannot call deployments, but refers to {deployment}")

    if not code.code:
        raise ConfigError(
            f"{subject}: this process has no code of {code.name}, only its name and digest. Load "
            "the code in a replica or a helper process."
        )
    for path in reversed(code.import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    return load_code(code.code, refuse)
