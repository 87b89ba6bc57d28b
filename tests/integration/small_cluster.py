"""A program on a Ray of its own, with two CPUs; its output is what `test_small_cluster` reads.

Prints one line of JSON for each thing that it finds out, beside what Ray shows it of the log.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from alacarte import serve
from alacarte.errors import DeployTimeoutError, ReplicaUnavailableError
from alacarte.serve.handle import DeploymentHandle
from alacarte.testing import wait_until

log = logging.getLogger("shop.model")


@serve.deployment
class Part:
    def __call__(self) -> str:
        return "part"


@serve.deployment
class Whole:
    def __init__(self, *parts: DeploymentHandle) -> None:
        self.parts = parts


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.5})
class Model:
    def talk(self) -> int:
        print("a printed line")
        log.warning("a logged line")
        return os.getpid()

    def fail(self) -> None:
        time.sleep(0.2)  # for the other replica to fail at the same time
        raise LookupError("there is none")

    def end(self, how: str) -> None:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.Signals[how])


def found(what: str, value: Any) -> None:
    # In one piece and on a line of its own: Ray's thread prints a line and its end apart.
    sys.stdout.write("\n" + json.dumps({"what": what, "value": value}) + "\n")
    sys.stdout.flush()


def commands() -> list[str]:
    """Return what `ps` shows of this program's processes, those of its Ray among them."""
    parents, found = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            parents[pid] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            found[pid] = (path / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile
            continue

    def is_ours(pid: int) -> bool:
        while pid and pid != os.getpid():
            pid = parents.get(pid, 0)
        return bool(pid)

    return [command for pid, command in found.items() if is_ours(pid)]


def waited(name: str, **options: Any) -> str:
    parts = [Part.options(name=f"Part{number}").bind() for number in range(3)]
    try:
        serve.run(Whole.options(**options).bind(*parts), name=name, route_prefix=None, timeout_s=5)
    except DeployTimeoutError as error:
        return str(error)
    return "it runs"


def error_of(response: Any) -> str:
    try:
        response.result(timeout_s=30)
    except LookupError as error:
        return repr(error)
    return "none"


def death(handle: Any, how: str) -> str:
    """Have a replica end, and return what the status says of that."""
    before = len(failures())
    try:
        handle.end.remote(how).result(timeout_s=30)
    except ReplicaUnavailableError:
        pass
    wait_until(lambda: len(failures()) > before, 60, "the death to be noticed")
    wait_until(lambda: model().replica_states == {"RUNNING": 2}, 60, "a successor")
    return failures()[-1].message


def model() -> Any:
    return serve.status().applications["shop"].deployments["Model"]


def failures() -> list[Any]:
    return list(model().recent_failures)


def main() -> None:
    # As on a machine with two cores: Ray is started by us, as it is for most people.
    os.environ["RAY_OVERRIDE_RESOURCES"] = '{"CPU": 2}'
    os.environ["RAY_ADDRESS"] = "local"
    serve.start(http_options={"port": int(sys.argv[1])})
    found("composition", waited("pipeline"))
    status = serve.status().applications["pipeline"]
    found("status", status.message)
    serve.delete("pipeline")
    found("oversized", waited("giant", ray_actor_options={"num_cpus": 5}))
    serve.delete("giant")

    handle = serve.run(Model.bind(), name="shop", route_prefix=None)
    found("pids", sorted({handle.talk.remote().result(timeout_s=30) for _ in range(20)}))
    found("ps", [command for command in commands() if "alacarte:" in command])
    failing = [handle.fail.remote() for _ in range(10)]
    found("failures", sorted({error_of(response) for response in failing}))
    found("SIGKILL", death(handle, "SIGKILL"))
    found("exit", death(handle, "exit"))
    found("end", None)
    sys.stdin.read()  # Ray's log comes late: whoever reads it says when it is all there

    serve.shutdown()


if __name__ == "__main__":
    main()
