"""`alacarte.testing.local_instance`, and `check_cluster` on the local cluster."""

from __future__ import annotations

import asyncio
import threading

import pytest

from alacarte import serve
from alacarte._cluster.local import LocalCluster
from alacarte.errors import ServeError
from alacarte.serve import _current
from alacarte.testing import check_cluster, local_instance, wait_until


@serve.deployment
def hello() -> str:
    return "hello"


def test_an_instance_for_a_test(local: object):
    """Applications run inside the block; afterwards no thread of the instance is left."""
    before = threading.active_count()
    with local_instance() as url:
        assert url == ""  # core alone has no HTTP
        assert serve.run(hello.bind(), route_prefix=None).call() == "hello"
        assert list(serve.status().applications) == ["default"]
    assert _current.current() is None
    wait_until(lambda: threading.active_count() <= before, description="the end of its threads")


def test_an_instance_ends_when_the_test_fails(local: object):
    """An exception leaves the block and still shuts the instance down."""
    with pytest.raises(KeyError), local_instance():
        raise KeyError("the test's own")
    assert _current.current() is None


def test_an_instance_inside_another(local: object):
    """A second instance in the process is refused, and the first keeps running."""
    with local_instance():
        with (
            pytest.raises(ServeError, match="this process already runs an instance"),
            local_instance(),
        ):
            pass
        assert _current.current() is not None


async def test_the_local_cluster_conforms():
    """The local cluster passes the check, which leaves no actors behind."""
    cluster = LocalCluster()
    await check_cluster(cluster)
    assert cluster._actors == {}


async def test_a_cluster_that_does_not_conform():
    """A cluster that violates the protocol fails the check."""

    class Deaf(LocalCluster):
        async def get(self, key: str) -> bytes | None:
            return None

    with pytest.raises(AssertionError):
        await check_cluster(Deaf())
    await asyncio.sleep(0)
