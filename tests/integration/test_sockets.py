"""What listens, and who may speak to it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.applications import Hello
from tests.integration.instance import Instance, sockets
from tests.integration.processes import listeners

from alacarte import serve
from alacarte._cluster.host_sockets import host_id, socket_dir
from alacarte._process.process_runtime import ProcessRuntime
from alacarte._wire.authentication import AuthenticationError
from alacarte._wire.caller_connection import ConnectionLost, connect
from alacarte._wire.error_codec import rebuild_error
from alacarte.calls import python_call, python_result
from alacarte.serve import _current
from alacarte.types import DeploymentId, ProcessInfo

HELLO = DeploymentId("default", "Hello")


def test_ports(here: Instance):
    """The proxy's port on the loopback address is all that we listen on over TCP."""
    serve.run(Hello.bind())
    assert here.get().text == "Hello"
    replicas = [here.pid(replica) for replica in here.replicas()]
    found = listeners()
    [(proxy, host)] = [
        (pid, host) for pid, ports in found.items() for host, port in ports if port == here.port
    ]
    assert host == "127.0.0.1"
    if here.on_ray:
        # Every Ray actor has ports of Ray's own; ours have what a bare one has, and no more.
        import ray

        @ray.remote(num_cpus=0)
        class Bare:
            def pid(self) -> int:
                return os.getpid()

        bare = Bare.remote()  # type: ignore[attr-defined]
        bare_pid = ray.get(bare.pid.remote())
        usual = hosts(listeners(), bare_pid)
        ray.kill(bare)
        assert proxy != os.getpid()
        assert [hosts(found, pid) for pid in replicas] == [usual]
        assert hosts(found, proxy) == sorted([*usual, "127.0.0.1"])
    else:
        # Other ports of this process are Ray's: the tests on Ray run in it, too.
        assert {*replicas, proxy} == {os.getpid()}


def hosts(found: dict[int, set[tuple[str, int]]], pid: int) -> list[str]:
    return sorted(host for host, _ in found.get(pid, ()))


def test_the_directory_of_sockets(here: Instance):
    """Only this user may enter it; a replica has one socket there, which ends with it.

    So has the proxy.
    """
    [proxy] = sockets()  # by which its successor finds it
    serve.run(Hello.options(num_replicas=2).bind())
    path = Path(socket_dir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    found = sockets()
    assert len(found) == 3
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in found)
    serve.delete("default")
    assert sockets() == [proxy]


@pytest.mark.minimums
def test_a_wrong_secret(here: Instance):
    """Whoever does not know the instance's secret is hung up on, and the replica goes on.

    A process of the instance whose secret is outdated is told the new one by the controller.
    """
    handle = serve.run(Hello.bind())
    session = _current.current()
    assert session is not None
    runtime = session.runtime
    assert handle.remote().result() == "Hello"
    [link] = runtime.routers[HELLO]._replicas.links.values()

    async def call_with_wrong_secrets() -> None:
        with pytest.raises((AuthenticationError, ConnectionLost)):
            await connect(
                link.address,
                link.replica_id,
                b"x" * 32,
                host_id=host_id(),
                max_message=2**20,
                decode_error=rebuild_error,
            )
        access = replace(runtime._access, secret=b"y" * 32)
        outdated = ProcessRuntime(
            access,
            session.plugins,
            runtime.config,
            process=ProcessInfo("driver", "outdated", ""),
            decode_error=rebuild_error,
        )
        try:
            call = python_call("__call__", (), {}, timeout_s=30)
            assert python_result(await outdated.service(HELLO)(call)) == "Hello"
            assert outdated._access.secret == runtime._access.secret
        finally:
            await outdated.close()

    session.wait(call_with_wrong_secrets())
    assert handle.remote().result() == "Hello"
