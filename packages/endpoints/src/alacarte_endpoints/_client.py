"""The client of backends and endpoints: what `serve.start` and `serve.connect` return."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from alacarte import serve
from alacarte.errors import ConfigError, ConflictError, ServeError
from alacarte.instance import get_instance
from alacarte.types import DeploymentId, Instance, Resource

from ._changes import change, with_share
from ._handle import EndpointHandle
from ._names import check_name, listed
from ._new_backend import check_config, new_backend
from ._paths import check_methods, check_path
from ._weights import check_share, check_weights
from .config import BackendConfig, CondaEnv, read_config
from .errors import EndpointNotFoundError
from .kinds import BACKEND, ENDPOINT, BackendSpec, EndpointSpec

__all__ = ["Client", "connect"]

SpecT = TypeVar("SpecT")


def connect() -> Client:
    """Return a client of the instance that runs: from a driver, a task, or a backend's replica.

    Raises:
        ServeError: No instance is running.
    """
    return Client(get_instance())


class Client:
    """Makes backends and endpoints of an instance, and says which backend has what traffic.

    Backends hold code, endpoints say where it is reached. Every change is durable, and has taken
    effect when its method returns. Methods block; async code calls them by `asyncio.to_thread`.

    Clients in several threads and processes may be used at the same time: no change undoes another
    one that it did not know of.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    # --- backends -----------------------------------------------------------------------

    def create_backend(
        self,
        backend_tag: str,
        func_or_class: Callable[..., Any],
        *actor_init_args: Any,
        ray_actor_options: Mapping[str, Any] | None = None,
        config: BackendConfig | Mapping[str, Any] | None = None,
        env: CondaEnv | None = None,
    ) -> None:
        """Start the replicas of a backend, and return when they run.

        While the cluster has no room for them, it waits, and a warning says what is missing.
        After an error or an interrupt, nothing of the backend is left.

        Args:
            backend_tag: Its name, unique among backends and applications.
            func_or_class: Takes a request, a Starlette `Request` from HTTP and a `ServeRequest`
                from a handle, and returns a JSON-able value or a Starlette `Response`. A class
                does so in `__call__`, and in other methods that requests ask for by name. Sync
                code runs one call at a time in each replica, async code many at once.
            *actor_init_args: For the constructor of a class.
            ray_actor_options: Resources and environment of each replica's process, such as
                `num_cpus` (1 by default), `num_gpus` and `runtime_env`.
            config: See `BackendConfig`.
            env: A conda environment for the processes.

        Raises:
            TypeError: An argument is of the wrong kind.
            ConfigError: A value is not allowed, or there is a backend of this tag.
            DeployError: A replica does not start; the user's own frame comes first.
            PluginError: It takes batches, and alacarte-batching is not installed.
        """
        self._check_alive()
        options = read_config(str(backend_tag), config)
        spec = new_backend(
            backend_tag, func_or_class, actor_init_args, ray_actor_options, options, env
        )
        taken = ConfigError(
            f"there is a backend {backend_tag!r} already; choose another tag, "
            "update_backend_config() it, or delete_backend() it first."
        )
        if backend_tag in self._backends():
            raise taken
        self._create(Resource(BACKEND, backend_tag, replace(spec, made=_stamp())), taken)

    def list_backends(self) -> dict[str, dict[str, Any]]:
        """Return what there is, by tag: `accepts_batches`, `num_replicas`, `max_batch_size`."""
        return {
            tag: {
                "accepts_batches": spec.traits.accepts_batches,
                "num_replicas": spec.config.num_replicas,
                "max_batch_size": spec.config.max_batch_size,
            }
            for tag, spec in self._backends().items()
        }

    def get_backend_config(self, backend_tag: str) -> BackendConfig:
        """Return a backend's options.

        Raises:
            ConfigError: There is no such backend.
        """
        return self._backend(backend_tag).config

    def update_backend_config(
        self, backend_tag: str, config_options: BackendConfig | Mapping[str, Any]
    ) -> None:
        """Change options of a backend; those that are not given stay as they are.

        Running replicas take them over in place: none is restarted, and no request is lost.
        Returns when they have, and when the number of replicas is the one that is wanted.

        Raises:
            TypeError: The options are neither a dict nor a BackendConfig.
            ConfigError: There is no such backend, or an option is not allowed.
            DeployError: The user's `reconfigure` fails, or a new replica does not start. The new
                options stay, until they are changed again.
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
        """Stop a backend's replicas, after their requests; an unknown tag is fine.

        Args:
            force: Cancel the requests instead of waiting for them.

        Raises:
            ConfigError: An endpoint uses it.
        """
        self._check_alive()
        spec = self._backends().get(backend_tag)
        if spec is None:
            return
        users = [name for name, each in self._endpoints().items() if backend_tag in each.backends]
        if users:
            raise ConfigError(
                f"backend {backend_tag!r} is in use by {listed(users)}: delete_endpoint() "
                "first, or take it out of the endpoint's traffic and shadows."
            )
        if not force:
            self._instance.delete(BACKEND, backend_tag)
            return
        hurried = spec.config.merged(BackendConfig(experimental_graceful_shutdown_timeout_s=0.0))
        as_it_was = Resource(BACKEND, backend_tag, spec)
        without_grace = Resource(BACKEND, backend_tag, spec.configured(hurried))
        self._instance.apply(without_grace, expected=[as_it_was], wait=False)
        try:
            self._instance.delete(BACKEND, backend_tag)
        except ConfigError:  # an endpoint has taken it up meanwhile
            with suppress(ConflictError):
                self._instance.apply(as_it_was, expected=[without_grace], wait=False)
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
        """Give a backend a name and a path to be reached by.

        Args:
            endpoint_name: Its name, for handles; unique among endpoints.
            backend: The backend that has its requests, until `set_traffic` says otherwise.
            route: The path of its requests, the whole of it, such as "/images"; None for nowhere
                over HTTP.
            methods: HTTP methods it answers; others get 405. GET brings HEAD along.

        Raises:
            TypeError: An argument is of the wrong kind, or `backend` is missing.
            ConfigError: A value is not allowed; the backend does not exist; another endpoint or
                application has the name or the path.
            PluginError: It has a route, and alacarte-http is not installed.
        """
        self._check_alive()
        check_name("an endpoint's name", endpoint_name)
        whose = f"endpoint {endpoint_name!r}"
        if not isinstance(backend, str):
            raise TypeError(f"{whose}: backend must be the tag of a backend, not {backend!r}.")
        if route is not None:
            check_path(whose, route)
        allowed = check_methods(whose, methods)
        taken = ConfigError(
            f"there is an endpoint {endpoint_name!r} already; choose another name, or "
            "delete_endpoint() it first."
        )
        if endpoint_name in self._endpoints():
            raise taken
        self._check_backends(whose, [backend])
        spec = EndpointSpec(backend, route, allowed, made=_stamp())
        self._create(Resource(ENDPOINT, endpoint_name, spec), taken)

    def list_endpoints(self) -> dict[str, dict[str, Any]]:
        """Return what there is, by name: `route`, `methods` and `traffic`.

        `traffic` is what `set_traffic` has set, {} while the endpoint's own backend has all.
        `shadows` is there where there are some.
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
        """Take an endpoint away; its backends stay. An unknown name is fine."""
        self._check_alive()
        self._instance.delete(ENDPOINT, endpoint_name)

    def set_traffic(
        self, endpoint_name: str, traffic_policy_dictionary: Mapping[str, float]
    ) -> None:
        """Split an endpoint's requests between backends, in place of all weights set before.

        Requests with the same shard key (`X-SERVE-SHARD-KEY` over HTTP) go to the same backend.

        Args:
            traffic_policy_dictionary: Weights by backend; they sum to 1.

        Raises:
            TypeError: It is no dict from tags to numbers.
            ConfigError: The weights do not sum to 1, or a name is unknown.
        """
        self._check_alive()
        whose = f"endpoint {endpoint_name!r}"
        weights = check_weights(whose, traffic_policy_dictionary)

        def changed(spec: EndpointSpec | None) -> EndpointSpec:
            assert spec is not None
            self._check_backends(whose, weights)
            return replace(spec, traffic=weights)

        self._change_endpoint(endpoint_name, changed)

    def shadow_traffic(self, endpoint_name: str, backend_tag: str, proportion: float) -> None:
        """Send copies of a share of an endpoint's requests to a backend, too.

        What becomes of them, callers do not learn, and they do not wait for it.

        Args:
            proportion: From 0 to 1; 0 ends it.

        Raises:
            TypeError: The proportion is no number from 0 to 1.
            ConfigError: A name is unknown.
        """
        self._check_alive()
        whose = f"endpoint {endpoint_name!r}"
        share = check_share(whose, proportion)

        def changed(spec: EndpointSpec | None) -> EndpointSpec:
            assert spec is not None
            self._check_backends(whose, [backend_tag])
            return replace(spec, shadows=with_share(spec.shadows, backend_tag, share))

        self._change_endpoint(endpoint_name, changed)

    def get_handle(
        self, endpoint_name: str, missing_ok: bool = False, sync: bool = True
    ) -> EndpointHandle:
        """Return a handle to an endpoint.

        Args:
            missing_ok: The endpoint may be created later; calls fail until then.
            sync: Accepted, and without effect: what `remote` returns can be awaited, and has a
                `result()`.

        Raises:
            EndpointNotFoundError: There is no such endpoint. It is a KeyError.
            PluginError: alacarte-handles is not installed.
        """
        self._check_alive()
        if not missing_ok:
            there = self._endpoints()
            if endpoint_name not in there:
                raise EndpointNotFoundError(
                    f"there is no endpoint {endpoint_name!r}; there are {listed(there)}."
                )
        return EndpointHandle(
            endpoint_name, self._instance.make_handle(DeploymentId("", endpoint_name))
        )

    # --- the instance -------------------------------------------------------------------

    def shutdown(self) -> None:
        """End the instance with all that runs in it. No other method can be used after that."""
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
                "the instance of this client has already been shut down; serve.start() another."
            )

    def _create(self, resource: Resource, taken: ConfigError) -> None:
        """Apply a new resource; leave nothing of one that does not come up.

        Args:
            taken: Raised where somebody else has made it meanwhile.
        """
        try:
            self._instance.apply(resource, expected=[None])
        except ConflictError:
            raise taken from None
        except BaseException:
            # Unless it was refused, or is somebody else's by now.
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
        there = self._backends()
        if tag not in there:
            raise ConfigError(f"there is no backend {tag!r}; there are {listed(there)}.")
        return there[tag]

    def _endpoint(self, name: str) -> EndpointSpec:
        there = self._endpoints()
        if name not in there:
            raise ConfigError(f"there is no endpoint {name!r}; there are {listed(there)}.")
        return there[name]

    def _check_backends(self, whose: str, tags: Sequence[str] | Mapping[str, float]) -> None:
        there = self._backends()
        unknown = [tag for tag in tags if tag not in there]
        if unknown:
            raise ConfigError(
                f"{whose}: there is no backend {listed(unknown)}; there are {listed(there)}."
            )

    def __repr__(self) -> str:
        state = "has ended" if self._instance.ended else "is running"
        return f"<alacarte client: the instance {state}>"

    def __reduce__(self) -> NoReturn:
        raise ServeError(
            "a client cannot be sent to another process; call serve.connect() there instead."
        )


def _stamp() -> str:
    """Return what tells this creation from another one of the same."""
    return secrets.token_hex(8)
