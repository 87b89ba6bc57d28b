"""A page in headless Chromium, by its DevTools protocol."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-port=0"),
]
READ_TIMEOUT_S = 30.0


class Page:
    """An open page.

    Args:
        connection: To the page's DevTools endpoint.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Leave the page for another one."""
        self.call("Page.navigate", url=url)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(READ_TIMEOUT_S))
            if message.get("id") == number:
                result: dict[str, Any] = message["result"]
                return result


@contextmanager
def open_page() -> Iterator[Page]:
    """Start a browser with an empty page, and end the browser."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with connect(_page_endpoint(browser), proxy=None, max_size=None) as connection:
                yield Page(connection)
        finally:
            browser.kill()
            browser.communicate()


def _page_endpoint(browser: subprocess.Popen[str]) -> str:
    """Return the endpoint of a new page; Chromium prints its own when it listens."""
    assert browser.stderr is not None
    for line in browser.stderr:
        found = re.search(r"DevTools listening on (ws://[^/]+)/", line)
        if found:
            break
    else:
        raise AssertionError("chromium ended before it listened")
    address = found[1]
    with connect(line.split()[-1], proxy=None) as connection:
        target = Page(connection).call("Target.createTarget", url="about:blank")["targetId"]
    return f"{address}/devtools/page/{target}"
