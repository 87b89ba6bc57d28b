"""What users may say of a backend, and what it comes down to for its deployment and replicas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alacarte.errors import ConfigError

__all__ = ["BackendConfig", "CondaEnv", "read_config"]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_AT_ONCE_SYNC = 8
_AT_ONCE_ASYNC = 100


class BackendConfig(BaseModel):
    """Options of a backend; all of them can be changed while its replicas run.

    Attributes:
        num_replicas: Processes to run.
        max_batch_size: The most requests that a callable with `@serve.accept_batch` is given at a
            time; one when None.
        batch_wait_timeout: How long the first request of a batch waits for others, in seconds.
        max_concurrent_queries: Requests that a replica takes on at a time. When None: 8 for sync
            code, which works on one after the other; twice `max_batch_size`, where it is set; 100
            for async code, or twice `max_batch_size` where that is more.
        user_config: A JSON-able value for the `reconfigure` method of the backend's class, which
            is called with it at the start of a replica and at each change. Not called for None.
        experimental_graceful_shutdown_wait_loop_s: Accepted, and without effect: replicas that
            leave are watched, not polled.
        experimental_graceful_shutdown_timeout_s: How long a replica that leaves may finish its
            requests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_replicas: int = Field(default=1, ge=1)
    max_batch_size: int | None = Field(default=None, ge=1)
    batch_wait_timeout: NotNegative = 0.0
    max_concurrent_queries: int | None = Field(default=None, ge=1)
    user_config: Any = None
    experimental_graceful_shutdown_wait_loop_s: NotNegative = 2.0
    experimental_graceful_shutdown_timeout_s: NotNegative = 20.0

    @field_validator("user_config")
    @classmethod
    def _json_able(cls, value: Any) -> Any:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON-able: {error}") from None
        return value

    def merged(self, changes: BackendConfig) -> BackendConfig:
        """Return a copy with those options that were given to `changes`."""
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        return self.model_copy(update=given)

    def queries_at_once(self, *, is_async: bool) -> int:
        """Return `max_concurrent_queries`, or what stands for None."""
        if self.max_concurrent_queries is not None:
            return self.max_concurrent_queries
        double = 2 * (self.max_batch_size or 0)
        return max(double, _AT_ONCE_ASYNC) if is_async else double or _AT_ONCE_SYNC

    def deployment_options(self, *, is_async: bool) -> dict[str, Any]:
        """Return the options of the backend's deployment."""
        return {
            "num_replicas": self.num_replicas,
            "max_ongoing_requests": self.queries_at_once(is_async=is_async),
            "graceful_shutdown_wait_loop_s": self.experimental_graceful_shutdown_wait_loop_s,
            "graceful_shutdown_timeout_s": self.experimental_graceful_shutdown_timeout_s,
            "user_config": self.replica_settings(),
        }

    def replica_settings(self) -> dict[str, Any]:
        """Return what running replicas take over: the `user_config` of the deployment.

        It is what `Backend.reconfigure` is given, and holds the user's own part.
        """
        return {
            "max_batch_size": self.max_batch_size or 1,
            "batch_wait_timeout_s": self.batch_wait_timeout,
            "user_config": self.user_config,
        }


@dataclass(frozen=True)
class CondaEnv:
    """The conda environment that the processes of a backend run in, by name.

    The same as `ray_actor_options={"runtime_env": {"conda": name}}`.
    """

    name: str


def read_config(backend: str, config: object) -> BackendConfig:
    """Return what a user gave as the options of a backend; None for the defaults.

    Raises:
        TypeError: It is neither a dict nor a BackendConfig.
        ConfigError: An option is unknown, or has a value that is not allowed.
    """
    if isinstance(config, BackendConfig):
        return config
    if config is None:
        return BackendConfig()
    if not isinstance(config, Mapping):
        raise TypeError(
            f"backend {backend!r}: config must be a dict or a serve.BackendConfig, not {config!r}."
        )
    try:
        return BackendConfig(**config)
    except ValidationError as error:
        reasons = "; ".join(_explain(dict(each)) for each in error.errors())
        raise ConfigError(f"backend {backend!r}: {reasons}.") from None


def _explain(detail: dict[str, Any]) -> str:
    option = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{option} is not an option; allowed: {', '.join(BackendConfig.model_fields)}"
    rule = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{option}={detail['input']!r} {rule}"
