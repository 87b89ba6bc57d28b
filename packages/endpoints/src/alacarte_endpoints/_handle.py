"""The handle to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from alacarte.errors import ConfigError

from ._request import Arguments, ServeRequest

__all__ = ["EndpointHandle"]


@dataclass(frozen=True)
class EndpointHandle:
    """Calls an endpoint: each call goes to one of its backends, by their weights.

    From sync and async code, in any process. It pickles to the endpoint's name.

        handle.remote(image).result()
        await handle.options(method_name="explain", shard_key=user).remote(image, top=3)

    Attributes:
        endpoint: Its name.
    """

    endpoint: str
    _calls: Any = field(repr=False)
    """The handle of alacarte-handles to the endpoint's route."""
    _asks: ServeRequest = field(default=ServeRequest(), repr=False)
    """What requests of this handle are copies of."""

    def options(
        self,
        *,
        method_name: str | None = None,
        shard_key: str | None = None,
        http_method: str | None = None,
        http_headers: Mapping[str, str] | None = None,
    ) -> EndpointHandle:
        """Return a handle that calls in another way; what is left out stays as it is.

        Args:
            method_name: The method of the backend's class to call.
            shard_key: Calls with the same key go to the same backend, as long as weights stay as
                they are.
            http_method: What the backend finds as `request.method`.
            http_headers: What it finds as `request.headers`.

        Raises:
            ConfigError: An option has a value that is not allowed.
        """
        calls, asks = self._calls, self._asks
        if method_name is not None:
            asks = replace(asks, call_method=_text("method_name", method_name))
        if shard_key is not None:
            calls = calls.options(session_id=_text("shard_key", shard_key))
        if http_method is not None:
            asks = replace(asks, method=_text("http_method", http_method).upper())
        if http_headers is not None:
            named = {
                _text("http_headers", name).lower(): _text("http_headers", value)
                for name, value in http_headers.items()
            }
            asks = replace(asks, headers=named)
        return replace(self, _calls=calls, _asks=asks)

    def remote(
        self, data: Any = None, **kwargs: Any
    ) -> Any:  # DeploymentResponse, of alacarte-handles
        """Call the endpoint; return at once with what the result will be.

        Args:
            data: What the backend finds as `request.data`, and by `await request.json()`.
            **kwargs: What it finds as `request.args`.

        Returns:
            A `DeploymentResponse`: `await` it, or ask for its `result()`.

        Raises:
            ConfigError: Something cannot be sent.
        """
        if hasattr(data, "receive") and hasattr(data, "scope"):
            raise ConfigError(
                f"{self!r}: a web request cannot be sent on; pass what it holds, for example "
                "await request.body() or await request.json()."
            )
        return self._calls.remote(replace(self._asks, data=data, args=Arguments(kwargs)))


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"the option {option} of a handle to an endpoint takes text: {value!r}.")
    return value
