"""A Ray of our own, and instances on it and on the local cluster.

Never the Ray of anyone else on this machine: it is started here, under a directory of its own, and
everything below that directory is gone at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.instance import Instance, free_port
from tests.integration.processes import pids_mentioning

from alacarte import serve
from alacarte.testing import wait_until


@pytest.fixture(scope="session", autouse=True)
def private_tmp() -> Iterator[Path]:
    """A short directory for all sockets, Ray's and ours: their paths must be short."""
    with pytest.MonkeyPatch.context() as patch:
        directory = Path(tempfile.mkdtemp(prefix="alc-", dir="/tmp"))
        patch.setenv("TMPDIR", str(directory))
        patch.setattr(tempfile, "tempdir", None)
        for name in list(os.environ):
            if name.startswith(("ALACARTE_", "RAY_SERVE_", "RAY_ADDRESS")):
                patch.delenv(name)
        yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_address(private_tmp: Path) -> Iterator[str]:
    """The address of a Ray that this process started, for it and for its children."""
    import ray

    # `local` is what makes it a new one, whatever else runs here.
    context = ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        logging_level="warning",
        _temp_dir=str(private_tmp / "ray"),
    )
    address = context.address_info["gcs_address"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield address
    left = ray.util.list_named_actors(all_namespaces=True)
    ray.shutdown()
    assert left == []
    wait_until(lambda: not pids_mentioning(str(private_tmp)), 30, "the end of Ray's processes")


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def cluster(request: pytest.FixtureRequest) -> str:
    """Each kind of cluster in turn."""
    if request.param == "ray":
        request.getfixturevalue("ray_address")
    return str(request.param)


@pytest.fixture(scope="module")
def instance(cluster: str) -> Iterator[Instance]:
    """An instance for all tests of a module, with HTTP on a free port."""
    yield from started(cluster)


def started(cluster: str, **http_options: object) -> Iterator[Instance]:
    """Run an instance; afterwards nothing may be left of it."""
    serve.start(cluster=cluster, http_options={"port": free_port(), **http_options})
    here = Instance(cluster)
    yield here
    serve.shutdown()
    here.assert_gone()


@pytest.fixture
def here(instance: Instance) -> Iterator[Instance]:
    """The instance, with no application at the beginning and at the end."""
    yield instance
    for name in serve.status().applications:
        serve.delete(name)


@pytest.fixture
def client(instance: Instance) -> Iterator[Any]:
    """The client of backends and endpoints; what a test makes with it is gone at its end."""
    client = serve.connect()
    endpoints, backends = client.list_endpoints(), client.list_backends()
    yield client
    for name in client.list_endpoints().keys() - endpoints:
        client.delete_endpoint(name)
    for tag in client.list_backends().keys() - backends:
        client.delete_backend(tag)
