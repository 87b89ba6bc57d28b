"""Options of backends, and the corresponding options of their deployments and replicas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alacarte.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["BackendConfig", "CondaEnv", "read_config"]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_DEFAULT_QUERIES_SYNC = 8
_DEFAULT_QUERIES_ASYNC = 100


class BackendConfig(BaseModel):
    """Options of a backend. All options can be changed while its replicas are running.

    Attributes:
        num_replicas: Number of replicas.
        max_batch_size: Maximum size of the batches of `@serve.accept_batch`; 1 when None.
        batch_wait_timeout: Maximum wait of the first request of a batch, in seconds.
        max_concurrent_queries: Maximum number of requests that a replica accepts at a time. When
            None: for sync code twice `max_batch_size`, or 8 without it; for async code 100, or
            twice `max_batch_size` if that is more. Sync code handles one request at a time.
        user_config: A JSON-able argument for the method `reconfigure` of the backend's class, which
            is called at the start of a replica and at each change. None for no call.
        experimental_graceful_shutdown_wait_loop_s: Accepted and ignored: draining replicas are not
            polled.
        experimental_graceful_shutdown_timeout_s: Time that a draining replica has to finish its
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
    def _json_able(cls, value: object) -> object:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON-able: {error}") from None
        return value

    def merged(self, changes: BackendConfig) -> BackendConfig:
        """Return a copy with the options that are set in `changes`."""
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        return self.model_copy(update=given)

    def concurrent_queries(self, *, is_async: bool) -> int:
        """Return `max_concurrent_queries` or its default."""
        if self.max_concurrent_queries is not None:
            return self.max_concurrent_queries
        double = 2 * (self.max_batch_size or 0)
        return max(double, _DEFAULT_QUERIES_ASYNC) if is_async else double or _DEFAULT_QUERIES_SYNC

    def deployment_options(self, *, is_async: bool) -> dict[str, Any]:
        """Return the options of the backend's deployment."""
        return {
            "num_replicas": self.num_replicas,
            "max_ongoing_requests": self.concurrent_queries(is_async=is_async),
            "graceful_shutdown_wait_loop_s": self.experimental_graceful_shutdown_wait_loop_s,
            "graceful_shutdown_timeout_s": self.experimental_graceful_shutdown_timeout_s,
            "user_config": self.replica_settings(),
        }

    def replica_settings(self) -> dict[str, object]:
        """Return the settings of replicas, which are the `user_config` of the deployment.

        The argument of `Backend.reconfigure`, with the user's own `user_config` inside.
        """
        return {
            "max_batch_size": self.max_batch_size or 1,
            "batch_wait_timeout_s": self.batch_wait_timeout,
            "user_config": self.user_config,
        }


@dataclass(frozen=True)
class CondaEnv:
    """The conda environment of a backend's processes, by name.

    Equivalent to `ray_actor_options={"runtime_env": {"conda": name}}`.
    """

    name: str


def read_config(backend: str, config: object) -> BackendConfig:
    """Return the validated options of a backend; the defaults for None.

    Raises:
        TypeError: The options are neither a dict nor a BackendConfig.
        ConfigError: An option is unknown, or has an invalid value.
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
        reasons = "; ".join(_explain(each) for each in error.errors())
        raise ConfigError(f"backend {backend!r}: {reasons}.") from None


def _explain(detail: ErrorDetails) -> str:
    option = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{option} is not an option; allowed: {', '.join(BackendConfig.model_fields)}"
    rule = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{option}={detail['input']!r} {rule}"
