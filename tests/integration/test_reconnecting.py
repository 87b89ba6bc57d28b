"""One program that leaves Ray and joins it again, as notebooks and test suites do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PROGRAM = """
import json, logging, os, sys, threading, time
import ray
from alacarte import serve

@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Which:
    def __init__(self, word):
        self.word = word

    def __call__(self):
        return self.word

def init():
    context = ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        _temp_dir=sys.argv[1],
    )
    return context.address_info["gcs_address"]

def run(word):
    return serve.run(Which.bind(word), route_prefix=None).remote().result(timeout_s=60)

def threads():
    return [each.name for each in threading.enumerate()].count("alacarte-driver")

def sockets():
    return sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
               for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))

init()
serve.start(proxy_location="Disabled")
first = run("first")
before = threads(), sockets()
ray.shutdown()
time.sleep(2)  # nothing of ours may ask Ray for anything: it would start a cluster for it
alone = ray.is_initialized()
address = init()
serve.start(proxy_location="Disabled")
second = run("second")
after = threads(), sockets()
ray.shutdown()
nothing = serve.shutdown()  # there is nothing to end, and nobody to ask
left = threads()
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         _temp_dir=sys.argv[1])
empty = dict(serve.status().applications)
serve.start(proxy_location="Disabled")
third = run("third")
serve.shutdown()
print(json.dumps([first, second, third, alone, before, after, left, empty]))
"""

AGAIN = """
import sys
import ray
from alacarte import serve

@serve.deployment(ray_actor_options={"num_cpus": 0.1})
def echo(word):
    return word

def init():
    ray.init(address=sys.argv[1], log_to_driver=False)

init()
serve.start(proxy_location="Disabled")
old = serve.run(echo.bind(), route_prefix=None)
assert old.remote("a").result(timeout_s=60) == "a"
ray.shutdown()
init()
# The instance has gone on meanwhile: this program joins it anew.
assert serve.status().applications["default"].status == "RUNNING"
assert serve.get_app_handle("default").remote("b").result(timeout_s=60) == "b"
ray.shutdown()
init()
serve.shutdown()
assert not serve.status().applications
print("done")
"""


def run(program: str, *arguments: str) -> str:
    """Run a program in a process of its own; return the last line that it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        text=True,
        capture_output=True,
        env=environment,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for noise in ("Traceback", "ERROR"):
        assert noise not in done.stderr, done.stderr
    return done.stdout.splitlines()[-1]


def test_another_cluster_in_the_same_program(tmp_path_factory: pytest.TempPathFactory):
    """`ray.shutdown()`, `ray.init()`, `serve.run()`: it starts afresh, and keeps nothing."""
    folder = Path("/tmp") / f"alc-{os.getpid()}"  # short, for the paths of sockets
    answer = json.loads(run(PROGRAM, str(folder)))
    first, second, third, alone, before, after, left, empty = answer
    assert (first, second, third) == ("first", "second", "third")
    assert not alone
    assert before[0] == after[0] == 1
    assert after[1] <= before[1] + 3
    assert left == 0
    assert empty == {}


def test_the_same_cluster_again(ray_address: str):
    """A program that leaves a cluster and comes back joins the instance that went on there."""
    assert run(AGAIN, ray_address) == "done"
