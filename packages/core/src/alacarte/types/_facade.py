"""Types of the objects that `serve.run` and `serve.start` return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol


class HandleResponse(Protocol):
    """The pending result of a handle call.

    `await` the response in async code, or call `result()` where no event loop runs. With
    `stream=True` iterate the response instead, with `async for` or `for`.
    """

    @property
    def request_id(self) -> str:
        """The id of the request, which logs show and nested calls inherit."""

    def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the result and return it.

        Args:
            timeout_s: How long to wait, in seconds; None for no limit.

        Raises:
            TimeoutError: The result did not come in time; the request goes on.
        """

    def cancel(self) -> None:
        """Cancel the call and its work in the replica."""

    def cancelled(self) -> bool:
        """Return whether `cancel` was called on this response."""

    def __await__(self) -> Generator[Any, Any, Any]: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Handle(Protocol):
    """Calls the methods of a deployment.

    `serve.run` returns a handle to the ingress deployment, and a constructor receives a handle for
    each bound deployment. An attribute is a handle to the method of that name:
    `handle.summarize.remote(text)`.
    """

    @property
    def deployment_name(self) -> str:
        """The name of the deployment that the handle calls."""

    @property
    def app_name(self) -> str:
        """The name of the deployment's application."""

    def remote(self, *args: object, **kwargs: object) -> HandleResponse:
        """Call the method, and return the pending response at once."""

    def options(self, **options: object) -> Handle:
        """Return a handle with other call options, such as `stream=True` or `timeout_s=2`."""

    def broadcast(self, method_name: str, *args: object, **kwargs: object) -> Any:
        """Call a method on every running replica."""

    def __getattr__(self, name: str) -> Handle: ...


class Client(Protocol):
    """Creates backends and endpoints. `serve.start` returns a client with alacarte-endpoints."""

    def create_backend(
        self,
        backend_tag: str,
        func_or_class: Callable[..., object],
        *actor_init_args: object,
        ray_actor_options: Mapping[str, object] | None = None,
        config: Any = None,
        env: Any = None,
    ) -> None:
        """Start the replicas of a backend; return when they are running."""

    def list_backends(self) -> dict[str, dict[str, object]]:
        """Return the backends, by tag."""

    def get_backend_config(self, backend_tag: str) -> Any:
        """Return the options of a backend."""

    def update_backend_config(self, backend_tag: str, config_options: Any) -> None:
        """Change the given options of a backend."""

    def delete_backend(self, backend_tag: str, force: bool = False) -> None:
        """Drain and stop the replicas of a backend. Unknown tags are ignored."""

    def create_endpoint(
        self,
        endpoint_name: str,
        *,
        backend: str | None = None,
        route: str | None = None,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        """Create an endpoint: a name and an HTTP path for a backend."""

    def list_endpoints(self) -> dict[str, dict[str, object]]:
        """Return the endpoints, by name."""

    def delete_endpoint(self, endpoint_name: str) -> None:
        """Delete an endpoint, but not its backends. Unknown names are ignored."""

    def set_traffic(
        self, endpoint_name: str, traffic_policy_dictionary: Mapping[str, float]
    ) -> None:
        """Split the requests of an endpoint between backends; replace all previous weights."""

    def shadow_traffic(self, endpoint_name: str, backend_tag: str, proportion: float) -> None:
        """Send copies of a share of an endpoint's requests to a backend."""

    def get_handle(self, endpoint_name: str, missing_ok: bool = False, sync: bool = True) -> Any:
        """Return a handle to an endpoint."""

    def shutdown(self) -> None:
        """Shut down the instance with all its applications, backends and endpoints."""
