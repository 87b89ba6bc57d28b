"""A whole instance in this process, for as long as a test takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import serve
from ..errors import ServeError
from ..serve import _current

__all__ = ["local_instance"]


@contextmanager
def local_instance(**options: Any) -> Iterator[str]:
    """Run an instance on the local cluster, without Ray, and shut it down at the end.

        with local_instance() as url:
            handle = serve.run(Hello.bind())
            assert handle.remote().result() == httpx.get(url).text

    Args:
        **options: As for `serve.start`. HTTP listens on a free port unless they say otherwise.

    Yields:
        The proxy's URL, without a slash at its end; "" where alacarte-http is not installed.

    Raises:
        ServeError: This process has an instance already.
    """
    if _current.current() is not None:
        raise ServeError("local_instance(): this process has an instance; serve.shutdown() first.")
    if "http" in _current.load_plugins().config_sections:
        options.setdefault("http_options", {"port": 0})
    serve.start(cluster="local", **options)
    try:
        urls = serve.status().urls
        yield urls[0] if urls else ""
    finally:
        serve.shutdown()
