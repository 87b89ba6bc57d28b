"""The program that runs alacarte, or Ray Serve, for a scenario: `python -m tests.faults.driver`.

It reads commands from standard input and answers on standard output, one line of JSON each; several
may be under way. It runs in the environment of the system, so it imports nothing else of the tests.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
import traceback
from typing import Any

import ray
from tests.faults import served

__all__: list[str] = []
_CALLS = "driver: "
_APPLICATIONS = {"alacarte": "alacarte:", "ray_serve": "SERVE_"}
_QUIET = {"enable_access_log": False}


class Driver:
    """Does what it is told, on one of the systems.

    Args:
        system: "alacarte" or "ray_serve".
        directory: Where Ray puts its files.
        nodes: How many CPUs each node of the cluster has; the first is the head.
        address: Of a Ray that runs; "" starts one.
        http_options: Of the proxy.
    """

    def __init__(
        self,
        system: str,
        directory: str,
        nodes: list[int],
        address: str,
        http_options: dict[str, Any],
    ) -> None:
        self.on_ray_serve = system == "ray_serve"
        self._prefix = _APPLICATIONS[system]
        self._nodes: list[Any] = []
        self._cluster: Any = None
        self._borrowed = bool(address)
        self._connect(directory, nodes, address)
        module = "ray.serve" if self.on_ray_serve else "alacarte.serve"
        self.serve = importlib.import_module(module)
        self._options: dict[str, Any] = {"http_options": http_options}
        if self.on_ray_serve:
            self._options["logging_config"] = _QUIET
        self.serve.start(**self._options)

    def _connect(self, directory: str, nodes: list[int], address: str) -> None:
        options: dict[str, Any] = {"logging_level": "warning", "log_to_driver": False}
        if address:
            ray.init(address, **options)
        elif len(nodes) == 1:
            ray.init(
                "local",
                num_cpus=nodes[0],
                include_dashboard=False,
                _temp_dir=directory,
                **options,
            )
        else:
            from ray.cluster_utils import Cluster

            head = {"num_cpus": nodes[0], "include_dashboard": False, "temp_dir": directory}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
            self._nodes = [self._cluster.add_node(num_cpus=count) for count in nodes[1:]]
            self._cluster.wait_for_nodes()
            ray.init(self._cluster.address, **options)

    def deploy(
        self,
        app: str,
        version: str,
        prefix: str = "/",
        options: dict[str, Any] | None = None,
        arguments: dict[str, Any] | None = None,
        child: dict[str, Any] | None = None,
    ) -> None:
        """Deploy a `Worker`, or, with options for a `Child`, a `Parent` of one; wait for it."""
        given = {"app": app, "version": version, **(arguments or {})}
        if child is None:
            target = self._deployment(served.Worker, options or {}, version).bind(**given)
        else:
            below = self._deployment(served.Child, child, version).bind(**given)
            target = self._deployment(served.Parent, options or {}, version).bind(below)
        further = {"logging_config": _QUIET} if self.on_ray_serve else {}
        self.serve.run(target, name=app, route_prefix=prefix, **further)

    def _deployment(self, kind: type, options: dict[str, Any], version: str) -> Any:
        made = self.serve.deployment(kind).options(**options)
        if self.on_ray_serve:
            # Else it replaces everything at each deployment, also where only a number has changed.
            made._version = version
        return made

    def delete(self, app: str) -> None:
        """Delete an application; return when nothing is left of it."""
        self.serve.delete(app)

    def set_traffic(self, route: str, weights: dict[str, float]) -> None:
        """Split a path's requests between applications; alacarte only, as all about traffic."""
        self.serve.set_traffic(route, weights)

    def shadow_traffic(self, route: str, app: str, proportion: float) -> None:
        """Have an application get copies of a path's requests."""
        self.serve.shadow_traffic(route, app, proportion)

    def delete_traffic(self, route: str) -> None:
        """Give a path back to its own application."""
        self.serve.delete_traffic(route)

    def route(self, route: str) -> dict[str, Any]:
        """Return what status tells of a path."""
        return dataclasses.asdict(self.serve.status().routes[route])

    def status(self, app: str) -> dict[str, Any]:
        """Return how an application is doing."""
        found = self.serve.status().applications.get(app)
        if found is None:
            return {"status": "NOT_STARTED", "message": "", "replicas": {}}
        messages = [found.message, *(each.message for each in found.deployments.values())]
        replicas = {
            name: {getattr(state, "value", state): n for state, n in each.replica_states.items()}
            for name, each in found.deployments.items()
        }
        return {"status": found.status.value, "message": "\n".join(messages), "replicas": replicas}

    def actors(self) -> list[dict[str, Any]]:
        """Return the living actors of the system: name, process and node."""
        from ray._private import state

        return [
            {"name": each["Name"], "pid": each["Pid"], "node": each["Address"]["NodeID"]}
            for each in state.actors().values()
            if each["State"] == "ALIVE" and each["Name"].startswith(self._prefix)
        ]

    def kill_actor(self, name: str) -> None:
        """End an actor for good: Ray does not start it again."""
        [namespace] = [
            each["namespace"]
            for each in ray.util.list_named_actors(all_namespaces=True)
            if each["name"] == name
        ]
        ray.kill(ray.get_actor(name, namespace), no_restart=True)

    def restart(self) -> None:
        """Start what is missing of the system, as a driver does that comes later."""
        if self.on_ray_serve:
            from ray.serve import context  # noqa: TID251  the peer itself

            context._set_global_client(None)
        else:
            from alacarte.serve import _current

            _current.CURRENT.session = None
        self.serve.start(**self._options)

    def remove_node(self, number: int) -> None:
        """End a node, and all that runs there, at once."""
        self._cluster.remove_node(self._nodes[number], allow_graceful=False)

    def node_ids(self) -> list[str]:
        """Return the ids of the nodes besides the head."""
        return [node.node_id for node in self._nodes]

    def shutdown(self) -> None:
        """End the system and Ray."""
        self.serve.shutdown()
        ray.shutdown()
        if self._cluster is not None:
            self._cluster.shutdown()


def main() -> None:
    # Whatever else is printed goes elsewhere.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def answer(number: int, **found: Any) -> None:
        with lock:
            answers.write(_CALLS + json.dumps({"number": number, **found}) + "\n")

    def carry_out(number: int, name: str, given: dict[str, Any]) -> None:
        try:
            answer(number, value=getattr(driver, name)(**given))
        except BaseException as error:  # whatever it is, the scenario has asked for it
            answer(number, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())

    driver = Driver(*json.loads(sys.argv[1]))
    answer(0, value=None)
    for line in sys.stdin:
        command = json.loads(line)
        threading.Thread(target=carry_out, args=command, daemon=True).start()
    driver.shutdown()


if __name__ == "__main__":
    main()
