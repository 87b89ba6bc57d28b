"""Mutation tests of the simulation: it must find each deliberate bug."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from alacarte._control import replica_group as group_module
from alacarte._control import storage
from alacarte._control.committed_state import CommittedState
from alacarte._control.control_loop import ControlLoop
from alacarte._control.reconcile import Drain, Start
from alacarte._control.recovery import Recovery
from alacarte._control.snapshot_hub import SnapshotHub
from alacarte._process.layered_service import LayeredService
from alacarte._replica.data_server import DataServer
from alacarte._replica.replica_actor import ReplicaActor
from alacarte._routing.router import Router
from alacarte.errors import ReplicaUnavailableError
from alacarte.types import Call, Reply

from .run import play_all

pytestmark = pytest.mark.once

Patch = pytest.MonkeyPatch
_SEEDS = 100


def _remember_before_storing(patch: Patch) -> None:
    """The controller acts, and stores afterwards."""
    store = CommittedState.store

    async def hasty(self: CommittedState, state: Any) -> None:
        self.state = state
        self._settled()
        await store(self, state)

    patch.setattr(CommittedState, "store", hasty)


def _forget_what_runs(patch: Patch) -> None:
    """A new controller does not look for the replicas of the former one."""

    async def nobody(self: Recovery) -> list[Any]:
        return []

    async def nothing(self: Recovery, known: Any) -> None:
        return None

    patch.setattr(Recovery, "survivors", nobody)
    patch.setattr(Recovery, "follow_orphans", nothing)


def _send_again(patch: Patch) -> None:
    """The router sends a call again that may have run."""
    call = Router.call

    async def stubborn(self: Router, request: Call) -> Reply:
        try:
            return await call(self, request)
        except ReplicaUnavailableError:
            return await call(self, request)

    patch.setattr(Router, "call", stubborn)


def _admit_everybody(patch: Patch) -> None:
    """A replica accepts more calls than its limit."""
    accept = DataServer.accept

    def generous(self: DataServer, stream: Any, call: Call) -> Any:
        call.bypass_limit = True
        return accept(self, stream, call)

    patch.setattr(DataServer, "accept", generous)
    patch.setattr(Router, "_send", _overload(Router._send))


def _overload(send: Callable[..., Any]) -> Callable[..., Any]:
    def eager(self: Router, call: Call, *rest: Any) -> Any:
        for link in self._ready:
            link.max_ongoing = 1000
        return send(self, call, *rest)

    return eager


def _stop_first(patch: Patch) -> None:
    """Old replicas drain as soon as new ones are requested."""
    decide = group_module.actions_for

    def hasty(target: Any, views: Any, **rest: Any) -> Any:
        actions = decide(target, views, **rest)
        if target is not None and any(isinstance(action, Start) for action in actions):
            old = [view for view in views if view.version != target.version]
            known = {action.replica_id for action in actions if isinstance(action, Drain)}
            actions += [
                Drain(view.replica_id)
                for view in old
                if view.replica_id not in known and view.state.value == "RUNNING"
            ]
        return actions

    patch.setattr(group_module, "actions_for", hasty)


def _hang_up_at_once(patch: Patch) -> None:
    """A draining replica does not wait for its requests."""

    async def rude(self: ReplicaActor, timeout_s: float) -> None:
        await self.abort()

    patch.setattr(ReplicaActor, "stop", rude)


def _publish_nobody(patch: Patch) -> None:
    """A new controller publishes snapshots before it has adopted replicas."""
    adopt = ControlLoop.adopt

    def early(self: ControlLoop, bootstrap: Any, plan: Any) -> None:
        self.apply_plan(plan)
        adopt(self, bootstrap, plan)

    patch.setattr(ControlLoop, "adopt", early)


def _store_the_index_alone(patch: Patch) -> None:
    """The index is stored without the values that it refers to."""
    plan = storage.plan
    patch.setattr(storage, "plan", lambda *args: replace(plan(*args), objects={}))


def _keep_garbage(patch: Patch) -> None:
    """Unreferenced keys stay stored."""

    async def nothing(self: Any) -> None:
        self._garbage.clear()

    patch.setattr(storage.Storage, "collect", nothing)


def _never_check(patch: Patch) -> None:
    """Health checks never fail."""

    async def fine(self: Any, *_: Any, **__: Any) -> str:
        return ""

    patch.setattr("alacarte._control.health_monitor.HealthMonitor._check", fine)


def _lose_changes(patch: Patch) -> None:
    """Some changes are not published."""
    publish = SnapshotHub.publish
    changes = [0]

    def forgetful(self: SnapshotHub, key: str, version: int, value: Any) -> None:
        changes[0] += 1
        if changes[0] % 3 or key not in self._values:
            publish(self, key, version, value)
        else:
            self._values[key] = (self._values[key][0], value)

    patch.setattr(SnapshotHub, "publish", forgetful)


def _let_early_calls_pass(patch: Patch) -> None:
    """A call before the first snapshot bypasses the layers."""

    async def hasty(self: LayeredService, call: Call) -> Reply:
        self._follow()
        return await self._core(call)

    patch.setattr(LayeredService, "_wait", hasty)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (_remember_before_storing, "nothing is started before it is stored"),
        (_forget_what_runs, "is not published empty"),
        (_send_again, "no request is executed twice"),
        (_admit_everybody, "no replica works on more than it may"),
        (_stop_first, "an update takes no capacity away"),
        (_hang_up_at_once, "no request fails without need"),
        (_publish_nobody, "is not published empty"),
        (_store_the_index_alone, "the index refers to what is stored"),
        (_keep_garbage, "what is wanted is reached"),
        (_never_check, "what is wanted is reached"),
        (_lose_changes, "what is wanted is reached"),
        (_let_early_calls_pass, "no request fails without need"),
    ],
)
def test_a_broken_promise_is_found(
    broken: Callable[[Patch], None], promise: str, monkeypatch: Patch
):
    """One of the first seeds finds the bug."""
    broken(monkeypatch)
    found = []
    for outcome in play_all(range(_SEEDS)):
        found += outcome.findings
        if any(promise in finding for finding in found):
            return
    pytest.fail(f"{_SEEDS} seeds found {found}, though {broken.__doc__}")
