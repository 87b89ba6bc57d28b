"""Who looks for the tests of a module finds them: by its name, or in the table here."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"
LONG = 100
"""Lines beyond which a module has tests of its own."""

COVERED = {
    "batching/_queue": "packages/batching/tests/test_bound_queues.py",
    "cli/commands/doctor": "packages/cli/tests/test_doctor.py",
    "cli/commands/run": "packages/cli/tests/test_run.py",
    "cli/commands/status": "packages/cli/tests/test_status.py",
    "core/_cluster/cluster_protocol": "packages/core/tests/cluster/test_local.py",
    "core/_cluster/ray/ray_actor": "tests/integration/test_conformance.py",
    "core/_cluster/ray/free_resources": "tests/integration/test_conformance.py",
    "core/_cluster/ray/ray_cluster": "tests/integration/test_conformance.py",
    "core/_cluster/ray/internals": "tests/contract/test_private_names.py",
    "core/_control/controller": "packages/core/tests/control/test_controller_actor.py",
    "core/_control/recovery": "packages/core/tests/control/test_control_loop.py",
    "core/_control/node_service_actor": "packages/core/tests/control/test_node_service_group.py",
    "core/_plugins/hook_dispatcher": "packages/core/tests/plugins/test_loading.py",
    "core/_plugins/registry": "packages/core/tests/plugins/test_loading.py",
    "core/_plugins/records": "packages/core/tests/plugins/test_loading.py",
    "core/_process/process_runtime": "packages/core/tests/process/test_local.py",
    "core/_replica/replica_actor": "packages/core/tests/replica/test_advertiser.py",
    "core/_routing/admission": "packages/core/tests/routing/test_overload.py",
    "core/_wire/caller_stream": "packages/core/tests/wire/test_states.py",
    "core/_wire/caller_connection": "packages/core/tests/wire/test_calls.py",
    "core/_wire/connection": "packages/core/tests/wire/test_long_messages.py",
    "core/_wire/listener": "packages/core/tests/wire/test_strangers.py",
    "core/_wire/reply_writer": "packages/core/tests/wire/test_streams.py",
    "core/_wire/replica_connection": "packages/core/tests/wire/test_calls.py",
    "core/_wire/replica_stream": "packages/core/tests/wire/test_states.py",
    "core/actors/controller_protocol": "tests/contract/test_actor_protocols.py",
    "core/actors/replica_protocol": "tests/contract/test_actor_protocols.py",
    "core/actors/watching": "packages/core/tests/control/test_snapshot_hub.py",
    "core/config": "packages/core/tests/test_section_values.py",
    "core/errors": "tests/contract/test_errors.py",
    "core/hookspecs": "tests/contract/test_hooks.py",
    "core/instance": "packages/core/tests/testing/test_local_instance.py",
    "core/layers": "packages/core/tests/test_layers_order.py",
    "core/serve/_api": "packages/core/tests/serve/test_local.py",
    "core/serve/_controller_connection": "packages/core/tests/serve/test_drivers.py",
    "core/serve/_current": "packages/core/tests/serve/test_drivers.py",
    "core/serve/_session": "packages/core/tests/serve/test_local.py",
    "core/status": "packages/core/tests/control/test_deployment_status.py",
    "core/testing/_cluster_conformance": "packages/core/tests/cluster/test_local.py",
    "core/types/_facade": "packages/handles/tests/test_handle.py",
    "core/types/_observers": "packages/core/tests/process/test_process_meters.py",
    "core/types/_requests": "packages/core/tests/test_calls.py",
    "core/types/_routing_policies": "packages/core/tests/routing/test_chooser.py",
    "core/types/_runtime_protocol": "packages/core/tests/process/test_local.py",
    "core/types/_scalers": "packages/core/tests/control/test_scaling.py",
    "http/_call_builder": "packages/http/tests/proxy/test_http_proxy.py",
    "http/_edge/head_checks": "packages/http/tests/edge/test_reader.py",
    "http/_edge/deadlines": "packages/http/tests/edge/test_http_connection.py",
    "http/_edge/edge": "packages/http/tests/edge/test_http_connection.py",
    "http/_edge/exchange": "packages/http/tests/edge/test_http_connection.py",
    "http/_proxy/shared_socket": "packages/http/tests/proxy/test_workers.py",
    "http/_proxy/proxy_server": "packages/http/tests/proxy/test_http_proxy.py",
    "http/_replica/route_methods": "packages/http/tests/replica/test_ingress.py",
    "http/_replica/lifespan": "packages/http/tests/replica/test_asgi_exchange.py",
    "http/_replica/http_service_builder": "packages/http/tests/replica/test_handlers.py",
    "http/_websocket/relay": "packages/http/tests/websocket/test_websocket_connection.py",
    "http/_websocket/asgi_session": "packages/http/tests/websocket/test_websocket_connection.py",
    "http/message": "packages/http/tests/test_message_codec.py",
    "http/layers": "packages/http/tests/proxy/test_layer_builder.py",
    "multiplexing/_model": "packages/multiplexing/tests/test_serving.py",
    "multiplexing/_model_cache": "packages/multiplexing/tests/test_model_store.py",
}
"""Modules whose tests are named after what they promise together: the file to look into."""


def has_its_own(package: Path, name: str) -> bool:
    """Return whether a test file is named after a module, in a folder like its room or flat."""
    *rooms, stem = (part.strip("_") for part in name.split("/")[1:])
    tests = package / "tests"
    in_room = tests.joinpath(*rooms, f"test_{stem}.py")
    flat = tests / f"test_{'_'.join([*rooms, stem])}.py"
    return in_room.exists() or flat.exists()


def missing() -> set[str]:
    """Return the long modules that no test file is named after."""
    found = set()
    for package in PACKAGES.iterdir():
        for path in package.glob("src/*/**/*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            inner = path.relative_to(package / "src").with_suffix("").parts[1:]
            name = "/".join([package.name, *inner])
            if path.name != "__init__.py" and lines > LONG and not has_its_own(package, name):
                found.add(name)
    return found


def test_every_long_module_has_its_tests():
    """A new module brings a test file of its name; few have theirs in a file of another name."""
    assert missing() - set(COVERED) == set()


def test_the_table_is_needed():
    """No entry is left of a module that is gone, is short, or has a test file by now."""
    assert set(COVERED) - missing() == set()


def test_the_files_in_the_table_exist():
    """Who follows an entry finds tests."""
    files = {ROOT / file for file in COVERED.values()}
    assert not [file for file in files if not file.exists()]
    assert all("def test_" in file.read_text(encoding="utf-8") for file in files)
