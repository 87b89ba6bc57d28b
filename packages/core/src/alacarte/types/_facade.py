"""What `serve.run` and `serve.start` return, whichever package gives the object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol


class HandleResponse(Protocol):
    """The result of a handle call, to come.

    `await` it in async code, or call `result()` where no event loop runs. With `stream=True` it is
    iterated instead, with `async for` or `for`.
    """

    @property
    def request_id(self) -> str:
        """The id of the request, which nested calls take over; logs show it."""

    def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the result and return it.

        Args:
            timeout_s: How long to wait, in seconds; None for no limit.

        Raises:
            TimeoutError: The result did not come in time; the request goes on.
        """

    def cancel(self) -> None:
        """Give the call up, and cancel its work."""

    def cancelled(self) -> bool:
        """Whether `cancel` was called here."""

    def __await__(self) -> Generator[Any, Any, Any]: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Handle(Protocol):
    """Calls a deployment's methods: what `serve.run` returns, and bound deployments become.

    An attribute is a handle to the method of that name: `handle.summarize.remote(text)`.
    """

    @property
    def deployment_name(self) -> str:
        """The deployment that is called."""

    @property
    def app_name(self) -> str:
        """Its application."""

    def remote(self, *args: Any, **kwargs: Any) -> HandleResponse:
        """Call the method; return at once with what its result will be."""

    def options(self, **options: Any) -> Handle:
        """Return a handle that calls in another way, such as `stream=True` or `timeout_s=2`."""

    def broadcast(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method at every replica that runs."""

    def __getattr__(self, name: str) -> Handle: ...


class Client(Protocol):
    """Makes backends and endpoints: what `serve.start` returns, with alacarte-endpoints."""

    def create_backend(
        self,
        backend_tag: str,
        func_or_class: Callable[..., Any],
        *actor_init_args: Any,
        ray_actor_options: Mapping[str, Any] | None = None,
        config: Any = None,
        env: Any = None,
    ) -> None:
        """Start the replicas of a backend, and return when they run."""

    def list_backends(self) -> dict[str, dict[str, Any]]:
        """Return the backends, by tag."""

    def get_backend_config(self, backend_tag: str) -> Any:
        """Return a backend's options."""

    def update_backend_config(self, backend_tag: str, config_options: Any) -> None:
        """Change options of a backend; those that are not given stay as they are."""

    def delete_backend(self, backend_tag: str, force: bool = False) -> None:
        """Stop a backend's replicas, after their requests; an unknown tag is fine."""

    def create_endpoint(
        self,
        endpoint_name: str,
        *,
        backend: str | None = None,
        route: str | None = None,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        """Give a backend a name and a path to be reached by."""

    def list_endpoints(self) -> dict[str, dict[str, Any]]:
        """Return the endpoints, by name."""

    def delete_endpoint(self, endpoint_name: str) -> None:
        """Delete an endpoint; its backends stay. An unknown name is fine."""

    def set_traffic(
        self, endpoint_name: str, traffic_policy_dictionary: Mapping[str, float]
    ) -> None:
        """Split an endpoint's requests between backends, in place of all weights set before."""

    def shadow_traffic(self, endpoint_name: str, backend_tag: str, proportion: float) -> None:
        """Send copies of a share of an endpoint's requests to a backend, too."""

    def get_handle(self, endpoint_name: str, missing_ok: bool = False, sync: bool = True) -> Any:
        """Return a handle to an endpoint."""

    def shutdown(self) -> None:
        """End the instance with all that runs in it."""
