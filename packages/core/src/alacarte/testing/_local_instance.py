"""A whole instance in this process, for as long as a test takes."""

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
        plugins: Modules to load as plugins, besides those that are installed.
        **options: As for `serve.start`. HTTP listens on a free port unless they say otherwise.

    Yields:
        The proxy's URL, without a slash at its end; "" where alacarte-http is not installed.

    Raises:
        ServeError: This process has an instance already.
        PluginError: One of `plugins` cannot be loaded.
    """
    if _current.current() is not None:
        raise ServeError("local_instance(): this process has an instance; serve.shutdown() first.")
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
    """Return what makes modules plugins of this process; none changes nothing."""
    if not modules:
        return nullcontext()
    plugins = load([*discover(), *(PluginRecord(module, module) for module in modules)])
    plugins.require(modules)
    return use_plugins(plugins)
