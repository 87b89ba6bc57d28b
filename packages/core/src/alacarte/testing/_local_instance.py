"""Instance in this process, for a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from .. import serve
from .._plugins import PluginRecord, discover, load
from ..errors import ServeError
from ..plugins import use_plugins
from ..serve import _current

__all__ = ["local_instance"]


@contextmanager
def local_instance(*, plugins: Sequence[str] = (), **options: Any) -> Iterator[str]:
    """Run an instance on the local cluster, without Ray, and shut it down at the end.

        with local_instance() as url:
            handle = serve.run(Hello.bind())
            assert handle.remote().result() == httpx.get(url).text

    Args:
        plugins: Modules to load as plugins, in addition to the installed plugins.
        **options: Options of `serve.start`. By default HTTP listens on a free port.

    Yields:
        The proxy's URL without a trailing slash; "" where alacarte-http is not installed.

    Raises:
        ServeError: This process already runs an instance.
        PluginError: A module of `plugins` cannot be loaded.
    """
    if _current.current() is not None:
        raise ServeError(
            "local_instance(): this process already runs an instance; call serve.shutdown() first."
        )
    with _loaded(plugins):
        if "http" in _current.load_plugins().config_sections:
            options.setdefault("http_options", {"port": 0})
        serve.start(cluster="local", **options)
        try:
            urls = serve.status().urls
            yield urls[0] if urls else ""
        finally:
            serve.shutdown()


def _loaded(modules: Sequence[str]) -> AbstractContextManager[None]:
    """Return a context in which modules are plugins of this process."""
    if not modules:
        return nullcontext()
    plugins = load([*discover(), *(PluginRecord(module, module) for module in modules)])
    plugins.require(modules)
    return use_plugins(plugins)
