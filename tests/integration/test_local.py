"""The local cluster in a process of its own: no Ray, and no waiting."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.integration.applications import Driver, Hello, World
from tests.integration.instance import Client

from alacarte import serve
from alacarte.serve import _current
from alacarte.testing import local_instance

HELLO = """
import json, sys, time, urllib.request
from alacarte import serve

@serve.deployment
def hello():
    return "hello"

began = time.monotonic()
serve.start(cluster="local", http_options={"port": 0})
handle = serve.run(hello.bind())
[proxy] = serve.status().proxies.values()
answer = urllib.request.urlopen(proxy.url).read().decode()
http_s = time.monotonic() - began
result = handle.remote().result()
seconds = time.monotonic() - began
serve.shutdown()
modules = [name for name in sys.modules if name.partition(".")[0] == "ray"]
print(json.dumps([answer, result, http_s, seconds, modules]))
"""


def ran(program: str) -> Any:
    """Run a program in a process of its own; return what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_the_first_request():
    """A hello application answers its first request, and nothing on the way waits or imports Ray.

    Half a second where nothing else runs; the best of three, on a machine that may be busy.
    """
    found = [ran(HELLO) for _ in range(3)]
    assert [each[:2] for each in found] == [["hello", "hello"]] * 3
    assert [each[4] for each in found] == [[]] * 3
    assert min(each[3] for each in found) < 5.0


def test_an_instance_for_a_test():
    """`local_instance` gives a URL where applications answer; nothing runs afterwards."""
    with local_instance() as url:
        handle = serve.run(Driver.bind(Hello.bind(), World.bind()))
        client = Client(url)
        assert client.get("/").text == handle.remote().result() == "Hello world!"
        client.close()
    assert _current.current() is None
