"""Client of backends and endpoints, from `serve.start` and `serve.connect`."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn, TypeVar

from alacarte import serve
from alacarte.errors import ConfigError, ConflictError, ServeError
from alacarte.instance import get_instance
from alacarte.types import DeploymentId, Instance, Resource

from ._changes import change, with_share
from ._handle import EndpointHandle
from ._names import check_name, quoted
from ._new_backend import check_config, new_backend
from ._paths import check_methods, check_path
from ._weights import check_share, check_weights
from .config import BackendConfig, CondaEnv, read_config
from .errors import EndpointNotFoundError
from .kinds import BACKEND, ENDPOINT, BackendSpec, EndpointSpec

__all__ = ["Client", "connect"]

SpecT = TypeVar("SpecT")


def connect() -> Client:
    """Return a client of the running instance, in a driver, a task, or a backend's replica.

    Raises:
        ServeError: No instance is running.
    """
    return Client(get_instance())


class Client:
    """Creates and changes the backends and endpoints of an instance.

    A backend has code and replicas; an endpoint has a name and a path, and splits its requests
    between backends. On return of a method, its change is durable and in effect. Methods block; in
    async code, use `asyncio.to_thread`.

    Several threads and processes may use clients at the same time: a change never overwrites a
    concurrent change.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    # --- backends -----------------------------------------------------------------------

    def create_backend(
        self,
        backend_tag: str,
        func_or_class: Callable[..., object],
        *actor_init_args: object,
        ray_actor_options: Mapping[str, object] | None = None,
        config: BackendConfig | Mapping[str, object] | None = None,
        env: CondaEnv | None = None,
    ) -> None:
        """Start the replicas of a backend; return when they are running.

        While the cluster lacks resources, the call waits, and logs the missing resources. After an
        error or an interrupt, the backend is deleted again.

        Args:
            backend_tag: Name of the backend, unique among backends and applications.
            func_or_class: A function of a request: a Starlette `Request` over HTTP, a
                `ServeRequest` from a handle. It returns a JSON-able value or a Starlette
                `Response`. Or a class with `__call__`, and other methods that requests name. Sync
                code runs one call at a time in each replica, async code runs concurrently.
            *actor_init_args: Arguments for the constructor of a class.
            ray_actor_options: Resources and environment of each replica's process, such as
                `num_cpus` (1 by default), `num_gpus` and `runtime_env`.
            config: Options; see `BackendConfig`.
            env: A conda environment for the processes.

        Raises:
            TypeError: An argument has the wrong type.
            ConfigError: A value is invalid, or the tag is in use.
            DeployError: A replica does not start; the message begins with the frame of user code.
            PluginError: The backend accepts batches, and alacarte-batching is not installed.
        """
        self._check_alive()
        options = read_config(str(backend_tag), config)
        spec = new_backend(
            backend_tag, func_or_class, actor_init_args, ray_actor_options, options, env
        )
        taken = ConfigError(
            f"backend {backend_tag!r} already exists; choose another tag, call "
            "update_backend_config(), or call delete_backend() first."
        )
        if backend_tag in self._backends():
            raise taken
        self._create(Resource(BACKEND, backend_tag, replace(spec, made=_stamp())), taken)

    def list_backends(self) -> dict[str, dict[str, object]]:
        """Return the backends by tag: `accepts_batches`, `num_replicas` and `max_batch_size`."""
        return {
            tag: {
                "accepts_batches": spec.traits.accepts_batches,
                "num_replicas": spec.config.num_replicas,
                "max_batch_size": spec.config.max_batch_size,
            }
            for tag, spec in self._backends().items()
        }

    def get_backend_config(self, backend_tag: str) -> BackendConfig:
        """Return the options of a backend.

        Raises:
            ConfigError: The backend does not exist.
        """
        return self._backend(backend_tag).config

    def update_backend_config(
        self, backend_tag: str, config_options: BackendConfig | Mapping[str, object]
    ) -> None:
        """Change the given options of a backend.

        Running replicas apply the options in place: no replica restarts, and no request is lost.
        Returns when all replicas have the options, and their number is `num_replicas`.

        Raises:
            TypeError: The options are neither a dict nor a BackendConfig.
            ConfigError: The backend does not exist, or an option is invalid.
            DeployError: The user's `reconfigure` raises, or a new replica does not start. The new
                options stay in effect.
        """
        self._check_alive()
        if config_options is None:
            raise TypeError("update_backend_config: the options must be a dict, not None.")
        changes = read_config(backend_tag, config_options)

        def changed(spec: BackendSpec | None) -> BackendSpec:
            assert spec is not None
            config = spec.config.merged(changes)
            check_config(backend_tag, config, spec.traits)
            return spec.configured(config)

        read = functools.partial(self._backend, backend_tag)
        change(self._instance, BACKEND, backend_tag, read, changed)

    def delete_backend(self, backend_tag: str, force: bool = False) -> None:
        """Drain and stop the replicas of a backend. Unknown tags are ignored.

        Args:
            force: Cancel the requests instead of waiting for them.

        Raises:
            ConfigError: An endpoint uses the backend.
        """
        self._check_alive()
        spec = self._backends().get(backend_tag)
        if spec is None:
            return
        users = [name for name, each in self._endpoints().items() if backend_tag in each.backends]
        if users:
            raise ConfigError(
                f"backend {backend_tag!r} is used by endpoint {quoted(users)}; call "
                "delete_endpoint() first, or remove the backend from its traffic and shadows."
            )
        if not force:
            self._instance.delete(BACKEND, backend_tag)
            return
        no_grace = spec.config.merged(BackendConfig(experimental_graceful_shutdown_timeout_s=0.0))
        original = Resource(BACKEND, backend_tag, spec)
        without_grace = Resource(BACKEND, backend_tag, spec.configured(no_grace))
        self._instance.apply(without_grace, expected=[original], wait=False)
        try:
            self._instance.delete(BACKEND, backend_tag)
        except ConfigError:  # an endpoint has started to use the backend
            with suppress(ConflictError):
                self._instance.apply(original, expected=[without_grace], wait=False)
            raise

    # --- endpoints ----------------------------------------------------------------------

    def create_endpoint(
        self,
        endpoint_name: str,
        *,
        backend: str | None = None,
        route: str | None = None,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        """Create an endpoint: a name and an HTTP path for a backend.

        Args:
            endpoint_name: Name of the endpoint for handles, unique among endpoints.
            backend: The backend that gets all requests until `set_traffic` splits them.
            route: The exact path of the endpoint's requests, such as "/images"; None for an
                endpoint without HTTP.
            methods: Allowed HTTP methods; other methods get 405. GET includes HEAD.

        Raises:
            TypeError: An argument has the wrong type, or `backend` is missing.
            ConfigError: A value is invalid; the backend does not exist; another endpoint or
                application has the name or the path.
            PluginError: The endpoint has a route, and alacarte-http is not installed.
        """
        self._check_alive()
        check_name("an endpoint's name", endpoint_name)
        subject = f"endpoint {endpoint_name!r}"
        if not isinstance(backend, str):
            raise TypeError(f"{subject}: backend must be the tag of a backend, not {backend!r}.")
        if route is not None:
            check_path(subject, route)
        allowed = check_methods(subject, methods)
        taken = ConfigError(
            f"endpoint {endpoint_name!r} already exists; choose another name, or call "
            "delete_endpoint() first."
        )
        if endpoint_name in self._endpoints():
            raise taken
        self._check_backends(subject, [backend])
        spec = EndpointSpec(backend, route, allowed, made=_stamp())
        self._create(Resource(ENDPOINT, endpoint_name, spec), taken)

    def list_endpoints(self) -> dict[str, dict[str, object]]:
        """Return the endpoints by name: `route`, `methods` and `traffic`.

        `traffic` has the weights of `set_traffic`; {} while the initial backend gets all requests.
        Endpoints with shadows also have `shadows`.
        """
        return {
            name: {
                "route": spec.route,
                "methods": list(spec.methods),
                "traffic": dict(spec.traffic),
                **({"shadows": dict(spec.shadows)} if spec.shadows else {}),
            }
            for name, spec in self._endpoints().items()
        }

    def delete_endpoint(self, endpoint_name: str) -> None:
        """Delete an endpoint, but not its backends. Unknown names are ignored."""
        self._check_alive()
        self._instance.delete(ENDPOINT, endpoint_name)

    def set_traffic(
        self, endpoint_name: str, traffic_policy_dictionary: Mapping[str, float]
    ) -> None:
        """Split the requests of an endpoint between backends; replace all previous weights.

        Requests with the same shard key (`X-SERVE-SHARD-KEY` over HTTP) go to the same backend.

        Args:
            traffic_policy_dictionary: Weights by backend, which sum to 1.

        Raises:
            TypeError: The weights are not a dict from tags to numbers.
            ConfigError: The weights do not sum to 1, or the endpoint or a backend does not exist.
        """
        self._check_alive()
        subject = f"endpoint {endpoint_name!r}"
        weights = check_weights(subject, traffic_policy_dictionary)

        def changed(spec: EndpointSpec | None) -> EndpointSpec:
            assert spec is not None
            self._check_backends(subject, weights)
            return replace(spec, traffic=weights)

        self._change_endpoint(endpoint_name, changed)

    def shadow_traffic(self, endpoint_name: str, backend_tag: str, proportion: float) -> None:
        """Send copies of a share of an endpoint's requests to a backend.

        Callers neither wait for the copies nor see their outcome.

        Args:
            proportion: Share of the requests, from 0 to 1; 0 stops the copies.

        Raises:
            TypeError: The proportion is not a number from 0 to 1.
            ConfigError: The endpoint or the backend does not exist.
        """
        self._check_alive()
        subject = f"endpoint {endpoint_name!r}"
        share = check_share(subject, proportion)

        def changed(spec: EndpointSpec | None) -> EndpointSpec:
            assert spec is not None
            self._check_backends(subject, [backend_tag])
            return replace(spec, shadows=with_share(spec.shadows, backend_tag, share))

        self._change_endpoint(endpoint_name, changed)

    def get_handle(
        self, endpoint_name: str, missing_ok: bool = False, sync: bool = True
    ) -> EndpointHandle:
        """Return a handle to an endpoint.

        Args:
            missing_ok: Whether the endpoint may be created later; calls fail until then.
            sync: Accepted and ignored: the response of `remote` can be awaited, and has `result()`.

        Raises:
            EndpointNotFoundError: The endpoint does not exist. A subclass of KeyError.
            PluginError: alacarte-handles is not installed.
        """
        self._check_alive()
        if not missing_ok:
            existing = self._endpoints()
            if endpoint_name not in existing:
                raise EndpointNotFoundError(
                    f"endpoint {endpoint_name!r} does not exist; existing: {quoted(existing)}."
                )
        return EndpointHandle(
            endpoint_name, self._instance.make_handle(DeploymentId("", endpoint_name))
        )

    # --- the instance -------------------------------------------------------------------

    def shutdown(self) -> None:
        """Shut down the instance with all its applications. The client is unusable afterwards."""
        if not self._instance.ended:
            serve.shutdown()

    def _change_endpoint(
        self, name: str, changed: Callable[[EndpointSpec | None], EndpointSpec]
    ) -> None:
        read = functools.partial(self._endpoint, name)
        change(self._instance, ENDPOINT, name, read, changed)

    def _check_alive(self) -> None:
        if self._instance.ended:
            raise ServeError(
                "the instance of this client has been shut down; call serve.start() for a new one."
            )

    def _create(self, resource: Resource, taken: ConfigError) -> None:
        """Apply a new resource; delete the resource again where its start fails.

        Args:
            taken: The error for a resource that another program has created first.
        """
        try:
            self._instance.apply(resource, expected=[None])
        except ConflictError:
            raise taken from None
        except BaseException:
            # Only this resource: another program may have created its own.
            with suppress(ServeError):
                if resource in self._instance.resources(resource.kind):
                    self._instance.delete(resource.kind, resource.name, wait=False)
            raise

    def _backends(self) -> dict[str, BackendSpec]:
        return self._specs(BACKEND, BackendSpec)

    def _endpoints(self) -> dict[str, EndpointSpec]:
        return self._specs(ENDPOINT, EndpointSpec)

    def _specs(self, kind: str, spec: type[SpecT]) -> dict[str, SpecT]:
        self._check_alive()
        found: dict[str, SpecT] = {each.name: each.spec for each in self._instance.resources(kind)}
        return found

    def _backend(self, tag: str) -> BackendSpec:
        existing = self._backends()
        if tag not in existing:
            raise ConfigError(f"backend {tag!r} does not exist; existing: {quoted(existing)}.")
        return existing[tag]

    def _endpoint(self, name: str) -> EndpointSpec:
        existing = self._endpoints()
        if name not in existing:
            raise ConfigError(f"endpoint {name!r} does not exist; existing: {quoted(existing)}.")
        return existing[name]

    def _check_backends(self, subject: str, tags: Sequence[str] | Mapping[str, float]) -> None:
        existing = self._backends()
        unknown = [tag for tag in tags if tag not in existing]
        if unknown:
            raise ConfigError(
                f"{subject}: no backend is named {quoted(unknown)}; existing: {quoted(existing)}."
            )

    def __repr__(self) -> str:
        state = "has ended" if self._instance.ended else "is running"
        return f"<alacarte client: the instance {state}>"

    def __reduce__(self) -> NoReturn:
        raise ServeError(
            "a client cannot be sent to another process; call serve.connect() in that process."
        )


def _stamp() -> str:
    """Return a random id of a creation."""
    return secrets.token_hex(8)
