"""A foreign plugin from a wheel works as our packages do, without any mention in them.

`nox -s contract` builds and installs tests/foreign_plugin.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.contract.foreign_plugins import ROOT, files_naming, run_cli

from alacarte import serve
from alacarte.context import current_call
from alacarte.errors import ConfigError, ServeError
from alacarte.plugins import load_plugins
from alacarte.runtime import get_runtime
from alacarte.serve import get_replica_context
from alacarte.testing import wait_until

pytest.importorskip("stranger", reason="nox -s contract installs tests/foreign_plugin")


@pytest.fixture
def local() -> Iterator[Any]:
    """`serve` on a local cluster without an HTTP proxy."""

    def start(**options: Any) -> Any:
        serve.start(cluster="local", proxy_location="Disabled", **options)
        return serve

    yield start
    serve.shutdown()


def test_it_is_a_distribution_of_its_own():
    """Installed from its wheel: not from this tree, and found by its entry point."""
    import stranger

    assert not Path(stranger.__file__).is_relative_to(ROOT / "tests")
    [record] = [record for record in load_plugins().loaded if record.name == "stranger"]
    assert record.distribution == "stranger-for-alacarte"
    assert record.version == metadata.version("stranger-for-alacarte") == "3.2.1"


def test_nothing_of_ours_knows_it():
    """No file of our packages names it."""
    assert not files_naming(r"(import|from) stranger\b|[\"']stranger\b|stranger-for-alacarte")


@serve.deployment(num_replicas=3, routing_policy="least_recently_used")
def who() -> str:
    return get_replica_context().replica_id


def test_its_routing_policy_routes(local):
    """`routing_policy="least_recently_used"` sends each call to the replica that rested longest."""
    handle = local().run(who.bind(), route_prefix=None)
    answers = [handle.remote().result() for _ in range(30)]
    # The replicas may become known here one after the other; from then on they alternate.
    tail = answers[-12:]
    assert len(set(tail[:3])) == 3
    assert tail == tail[:3] * 4


@serve.deployment
class Marked:
    def __call__(self) -> str:
        call = current_call.get()
        assert call is not None
        return call.routing_key


def test_its_layers_wrap_calls(local):
    """One at the caller and one in the replica, configured through its own section."""
    from stranger.layers import counts

    before = counts.copy()
    started = local(stranger_options={"layers": True, "greeting": "good day"})
    handle = started.run(Marked.bind(), name="shop", route_prefix=None)
    assert [handle.remote().result() for _ in range(5)] == ["good day shop#Marked"] * 5
    assert counts - before == {"__call__": 5}


def test_without_being_asked_for_its_layers_do_nothing(local):
    """A hook may return None, and then there is no layer at all."""
    assert local().run(Marked.bind(), route_prefix=None).remote().result() == ""


def test_its_options_are_checked_like_ours(local):
    """One line: the argument, the field, and what there is."""
    told = r"stranger_options: greting is not an option; allowed: layers, greeting, notes"
    with pytest.raises(ConfigError, match=told):
        local(stranger_options={"greting": "x"})


def test_it_observes_changes(local):
    """`on_event` hears of replicas, deployments and their states."""
    from stranger.observer import events

    events.clear()
    local().run(Marked.bind(), name="seen", route_prefix=None)
    heard = [(event.kind, event.state) for event in events if "seen#Marked" in event.name]
    assert [state for kind, state in heard if kind == "replica"] == ["STARTING", "RUNNING"]
    assert heard[-1] == ("deployment", "HEALTHY")


def test_it_sees_processes_and_replicas_come_and_go(local):
    """`on_process` in each process, its cleanup at the end; `on_replica` with the user's object."""
    from stranger.observer import processes, replicas

    processes.clear()
    replicas.clear()
    started = local(stranger_options={"notes": True})
    started.run(Marked.bind(), name="seen", route_prefix=None)
    assert list(replicas) == [("seen#Marked", "Marked")]
    kinds = {"controller", "driver", "replica", "service"}
    assert sorted(processes) == sorted((kind, "started") for kind in kinds)
    started.shutdown()
    assert {kind for kind, state in processes if state == "stopping"} == kinds


def test_its_reports_arrive(local):
    """Replicas report what they count, and what stands in the controller is the sum."""
    from stranger.sums import sums

    before = sums.total["__call__"]
    started = local(stranger_options={"layers": True})
    handle = started.run(Marked.options(num_replicas=2).bind(), route_prefix=None)
    for _ in range(20):
        handle.remote().result()
    wait_until(lambda: sums.total["__call__"] == before + 20, 10, "all counts")


@serve.deployment
class Noting:
    async def __call__(self, note: str) -> list[bytes]:
        return await get_runtime().node_service("stranger.notes").send(note.encode())


def test_its_node_service_takes_messages(local):
    """From a replica on its node; and reports as replicas do."""
    from stranger.sums import sums

    before = sums.total["notes"]
    started = local(stranger_options={"notes": True})
    handle = started.run(Noting.bind(), route_prefix=None)
    assert handle.remote("milk").result() == [b"milk"]
    assert handle.remote("bread").result() == [b"milk, bread"]
    wait_until(lambda: sums.total["notes"] == before + 2, 10, "its report")


def test_its_command_runs():
    """`serve hello-plugin`, listed in the help, with arguments and exit codes like ours."""
    assert "hello-plugin" in run_cli("--help").stdout
    done = run_cli("hello-plugin", "you")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hello you, from one of ")
    failed = run_cli("hello-plugin", "--fail")
    assert failed.returncode == 1
    assert "no greeting today" in failed.stderr


def test_it_is_listed():
    """`alacarte plugins` shows where it comes from and what it gives."""
    lines = run_cli("plugins").stdout.splitlines()
    [line] = [line for line in lines if line.startswith("stranger")]
    for part in ("3.2.1", "stranger-for-alacarte", "loaded", "hello-plugin", "wrap_replica"):
        assert part in line


def test_it_can_be_disabled():
    """Then its command is not there, and the rest is."""
    done = run_cli("hello-plugin", ALACARTE_DISABLE_PLUGINS="stranger")
    assert done.returncode != 0
    assert "hello-plugin" in done.stderr
    assert "disabled" in run_cli("plugins", ALACARTE_DISABLE_PLUGINS="stranger").stdout


def test_a_policy_that_is_not_there(local):
    """The error lists ours and its own."""
    with pytest.raises(ServeError, match=r"'most_used'; registered policies: \['least_recently"):
        local().run(who.options(routing_policy="most_used").bind(), route_prefix=None)
