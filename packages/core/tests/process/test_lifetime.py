"""The hooks `on_process` and `on_replica`, their cleanups and their failures."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from alacarte import serve
from alacarte._cluster.local import LocalCluster
from alacarte._control.helper_actors import HelperActors
from alacarte._plugins import PluginRecord
from alacarte.hookspecs import hookimpl
from alacarte.runtime import get_runtime
from alacarte.testing import wait_until


@serve.deployment
class Model:
    def __call__(self) -> str:
        return "answer"


def test_a_process_tells_plugins_of_its_start_and_its_end(local_with):
    """Each kind of process once; cleanups run while calls can still be made."""
    seen: list[tuple[str, str]] = []

    def on_process(process: Any, runtime: Any) -> Any:
        assert (runtime is None) == (process.kind == "controller")
        assert runtime is None or get_runtime() is runtime
        seen.append((process.kind, "started"))

        async def stop() -> None:
            assert runtime is None or not runtime.loop.is_closed()
            seen.append((process.kind, "stopped"))

        return stop

    serve = local_with(on_process=on_process)
    assert serve.run(Model.bind(), route_prefix=None).call() == "answer"
    kinds = ["controller", "driver", "replica"]
    assert sorted(seen) == [(kind, "started") for kind in kinds]
    serve.shutdown()
    assert sorted(seen[3:]) == [(kind, "stopped") for kind in kinds]


def test_a_replica_tells_plugins_once_the_object_is_made(local_with):
    """`on_replica` follows the constructor; its cleanup precedes the destructor."""
    seen: list[str] = []

    def on_replica(replica: Any, runtime: Any) -> Any:
        seen.append(type(replica.servable_object).__name__)

        async def stop() -> None:
            seen.append("stopped")

        return stop

    serve = local_with(on_replica=on_replica)
    serve.run(Model.bind(), route_prefix=None)
    assert seen == ["Model"]
    serve.delete("default")
    assert seen == ["Model", "stopped"]


def raises(**given: Any) -> Any:
    raise RuntimeError("no licence")


async def _raises_later() -> None:
    raise RuntimeError("no licence")


async def _hangs() -> None:
    await asyncio.Event().wait()


def test_a_plugin_that_fails_at_a_start_changes_nothing(local_with, caplog):
    """A failing hook is logged once per process and shown in the status."""
    serve = local_with(on_process=raises, on_replica=lambda **given: 17)
    assert serve.run(Model.bind(), route_prefix=None).call() == "answer"

    def failures() -> set[tuple[str, str]]:
        return {(each.hook, each.message) for each in serve.status().plugin_failures}

    wait_until(lambda: len(failures()) == 2, 10, "both failures")
    assert ("on_process", "RuntimeError: no licence") in failures()
    [wrong] = [text for hook, text in failures() if hook == "on_replica"]
    assert "17 instead of callable" in wrong
    processes = {
        each.process.partition(":")[0]
        for each in serve.status().plugin_failures
        if each.hook == "on_process"
    }
    assert {"controller", "driver"} <= processes
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert all("plugin observer failed in on_" in each for each in errors)


def test_a_cleanup_that_fails_or_hangs_keeps_nothing_from_ending(local_with, monkeypatch):
    """A failing or hanging cleanup does not keep the process from stopping."""
    monkeypatch.setattr("alacarte._process.lifetime.CLEANUP_S", 0.05)
    serve = local_with(on_process=lambda **given: _raises_later, on_replica=lambda **given: _hangs)
    serve.run(Model.bind(), route_prefix=None)
    serve.shutdown()
    assert serve.status().applications == {}


class Helper:
    """A plugin's process beside the controller."""

    def __init__(self, context: Any) -> None:
        self.name = context.name

    async def ping(self) -> str:
        return self.name


def test_a_helper_process_tells_plugins_of_its_start(observer):
    """A helper process calls `on_process` without a runtime, and is killed at its end."""
    seen: list[tuple[str, str, Any]] = []

    @hookimpl
    def on_process(process: Any, runtime: Any) -> None:
        seen.append((process.kind, process.name, runtime))

    observer.on_process = on_process
    records = (PluginRecord("observer", observer.__name__),)

    async def main() -> None:
        cluster = LocalCluster()
        helper = await HelperActors(cluster, "helper:", records).start(f"{__name__}:Helper")
        helper.kill()
        assert seen == [("helper", helper.name, None)]

    asyncio.run(main())
