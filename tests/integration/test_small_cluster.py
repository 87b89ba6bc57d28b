"""A program on two CPUs: what its user is told, and where the lines of the log come from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.instance import free_port

from alacarte.testing import wait_until

pytestmark = pytest.mark.ray
PROGRAM = Path(__file__).with_name("small_cluster.py")
COLOUR = re.compile(r"\x1b\[\d+m")


class Output:
    """What the program has printed, and Ray on its behalf."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __getitem__(self, what: str) -> Any:
        """Return what the program found out, None for nothing yet."""
        for line in self.lines:
            if line.startswith('{"what"') and (told := json.loads(line))["what"] == what:
                return told["value"]
        return None

    @property
    def is_complete(self) -> bool:
        """Whether the program is done, and Ray has shown what its replicas have printed last."""
        counts = [len(self.log("a logged line")), len(self.log("a printed line"))]
        failed = len(self.log("LookupError: there is none"))
        deaths = len(self.log(" died: its process "))
        return '{"what": "end", "value": null}' in self.lines and (
            counts == [20, 20] and failed == 10 and deaths == 2
        )

    def log(self, text: str) -> list[str]:
        """Return the lines of the log that hold a text."""
        return [line for line in self.lines if text in line and not line.startswith('{"what"')]


@pytest.fixture(scope="module")
def output(private_tmp: Path) -> Iterator[Output]:
    """The program's output, once all is there that the tests look for."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, str(free_port())],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found = Output([])

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found.lines.append(COLOUR.sub("", line.rstrip("\n")))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        try:
            wait_until(lambda: found.is_complete or process.poll() is not None, 150, "the program")
            assert process.poll() is None
        except AssertionError as error:
            raise AssertionError("\n".join(found.lines)) from error
        yield found
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(60)
        finally:
            process.kill()
            reader.join()
            process.stdout.close()
    assert process.returncode == 0, "\n".join(found.lines)


def test_a_composition_that_cannot_fit(output: Output):
    """Four CPUs of two: the log says so at once and once, and the error and the status as well."""
    text = "Application 'pipeline' asks for 4 CPUs; the cluster has 2 in all. Lower `num_replicas`"
    assert len(output.log(text)) == 1
    assert output.log(text)[0].startswith("(alacarte:controller pid=")
    error = output["composition"]
    assert error.startswith("application 'pipeline' is not running after 5 s.\n")
    assert error.count(text) == 1
    assert "of 1 ready, waits for the process of a replica" in error
    assert "It stays deployed" in error
    assert output["status"].startswith(text)


def test_a_replica_that_fits_on_no_node(output: Output):
    """Five CPUs for one replica where a node has two: said of the replica, with a remedy."""
    text = "Deployment 'giant#Whole': one replica asks for 5 CPUs; no node of the cluster has more"
    [line] = output.log(text)
    assert line.endswith("than 2. Lower `ray_actor_options['num_cpus']`, or add a node.")
    assert text in output["oversized"]


def test_names_of_processes(output: Output):
    """`ps` shows what each process of ours is, and whose; no call changes that."""
    replica = "ray::alacarte:replica shop#Model"
    names = [replica, replica, "ray::alacarte:controller", "ray::alacarte:proxy"]
    assert sorted(output["ps"]) == sorted(names)


def test_lines_of_replicas(output: Output):
    """A printed line is named by Ray; a logged one has level, time, replica, request, logger.

    Ray prints a line and its end apart, so a line of the program's own may follow on it.
    """
    printed = re.compile(r"\(alacarte:replica shop#Model pid=(\d+)\) a printed line")
    named = [printed.search(line) for line in output.log("a printed line")]
    assert all(named), output.log("a printed line")
    assert {int(match[1]) for match in named if match} == set(output["pids"])
    logged = re.compile(
        r"\(alacarte:replica shop#Model pid=\d+\) WARNING \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
        r"shop#Model#[0-9a-f]{8} ([0-9a-f]{32}) shop\.model -- a logged line"
    )
    matches = [logged.search(line) for line in output.log("a logged line")]
    assert all(matches), output.log("a logged line")
    assert len({match[1] for match in matches if match}) == 20


def test_tracebacks_stay_whole(output: Output):
    """Two replicas raise the same at the same time; each traceback is all there, in its order."""
    assert output["failures"] == ["LookupError('there is none')"]
    assert output.log("repeated") == []
    by_process: dict[str, list[str]] = {}
    for line in output.lines:
        if line.startswith("(alacarte:replica"):
            by_process.setdefault(line.partition(")")[0], []).append(line.partition(") ")[2])
    headings = 0
    for lines in by_process.values():
        for index, line in enumerate(lines):
            if "shop#Model.fail failed" in line:
                headings += 1
                assert lines[index + 1] == "Traceback (most recent call last):"
                end = lines.index("LookupError: there is none", index)
                assert any(", in fail" in frame for frame in lines[index + 2 : end])
    assert headings == 10


def test_deaths(output: Output):
    """A dead replica is reported with the signal that killed it, or with its exit code."""
    assert output["SIGKILL"] == (
        "its process was killed by signal 9 (SIGKILL), perhaps by the kernel's out-of-memory killer"
    )
    assert output["exit"] == "its process exited with code 3"
    assert output.log("died: its process exited with code 3")
