"""Handle to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alacarte.errors import ConfigError
from alacarte.types import Handle, HandleResponse

from ._request import Arguments, ServeRequest

__all__ = ["EndpointHandle"]


@dataclass(frozen=True)
class EndpointHandle:
    """Calls an endpoint; each call goes to one of the endpoint's backends, by weight.

    Use it from sync and async code, in any process. A handle pickles as the endpoint's name.

        handle.remote(image).result()
        await handle.options(method_name="explain", shard_key=user).remote(image, top=3)

    Attributes:
        endpoint: Name of the endpoint.
    """

    endpoint: str
    _handle: Handle = field(repr=False)
    """The handle of alacarte-handles to the endpoint's route."""
    _template: ServeRequest = field(default=ServeRequest(), repr=False)
    """The options of this handle's requests."""

    def options(
        self,
        *,
        method_name: str | None = None,
        shard_key: str | None = None,
        http_method: str | None = None,
        http_headers: Mapping[str, str] | None = None,
    ) -> EndpointHandle:
        """Return a handle with other options; options that are not given are kept.

        Args:
            method_name: The method of the backend's class to call.
            shard_key: Calls with the same key go to the same backend while the weights stay the
                same.
            http_method: Value of `request.method` in the backend.
            http_headers: Value of `request.headers` in the backend.

        Raises:
            ConfigError: An option has an invalid value.
        """
        handle, template = self._handle, self._template
        if method_name is not None:
            template = replace(template, call_method=_check_text("method_name", method_name))
        if shard_key is not None:
            handle = handle.options(session_id=_check_text("shard_key", shard_key))
        if http_method is not None:
            template = replace(template, method=_check_text("http_method", http_method).upper())
        if http_headers is not None:
            headers = {
                _check_text("http_headers", name).lower(): _check_text("http_headers", value)
                for name, value in http_headers.items()
            }
            template = replace(template, headers=headers)
        return replace(self, _handle=handle, _template=template)

    def remote(self, data: object = None, **kwargs: object) -> HandleResponse:
        """Call the endpoint, and return the pending response at once.

        Args:
            data: Value of `request.data`, and of `await request.json()`, in the backend.
            **kwargs: Value of `request.args` in the backend.

        Returns:
            The response: `await` it, or call its `result()`.

        Raises:
            ConfigError: An argument cannot be pickled.
        """
        if hasattr(data, "receive") and hasattr(data, "scope"):
            raise ConfigError(
                f"{self!r}: a web request cannot be forwarded; pass its content, for example "
                "await request.body() or await request.json()."
            )
        request = replace(self._template, data=data, args=Arguments(kwargs))
        return self._handle.remote(request)


def _check_text(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(
            f"handle to an endpoint: the option {option} must be a string, not {value!r}."
        )
    return value
