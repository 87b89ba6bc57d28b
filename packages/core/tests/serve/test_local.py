"""Applications on the local cluster, from `serve.run` to `serve.shutdown`.

Only core is installed; the plugin in conftest.py provides handles.
"""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte import serve
from alacarte._model.snapshots import deployment_key
from alacarte.actors import WatchRequest
from alacarte.context import current_call
from alacarte.errors import (
    BackPressureError,
    ConfigError,
    DeadlineExceededError,
    DeployError,
    DeploymentUnavailableError,
    NotFoundError,
    PluginError,
    ReplicaUnavailableError,
    ServeError,
)
from alacarte.serve import _current, get_replica_context
from alacarte.status import ServeStatus

from .. import gates
from ..gates import fresh_gate

WAIT_S = 20


class Gate(gates.Gate):
    """A gate at which handlers wait until the test opens it, with their notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []


GATE = Gate()


gate = fresh_gate(__name__, Gate)


@serve.deployment
def hello(name: str = "world") -> str:
    return f"hello {name}"


@serve.deployment(num_replicas=2)
class Who:
    """Says which replica it is."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.config = None

    def __call__(self) -> str:
        return get_replica_context().replica_id

    def reconfigure(self, config: Any) -> None:
        if config == "bad":
            raise ValueError("cannot take this")
        self.config = config
        GATE.notes.append(config)

    def get_config(self) -> Any:
        return self.config

    def ask_label(self) -> str:
        return self.label


@serve.deployment(max_ongoing_requests=1)
class Slow:
    """Waits at the gate."""

    def __call__(self, name: str = "") -> str:
        GATE.inside.release()
        assert GATE.open.wait(WAIT_S)
        return name

    async def for_ever(self) -> None:
        import asyncio

        GATE.inside.release()
        try:
            await asyncio.Event().wait()
        finally:
            GATE.notes.append("cancelled")

    def fast(self) -> str:
        return "fast"


def replicas(handle: Any) -> set[str]:
    """Return the ids of all running replicas, once calls from here go to those only."""
    key = deployment_key(handle.deployment)
    request = WatchRequest("test", "test", 0, {key: -1})
    session = _current.current()
    snapshot = session.wait(session.controller.watch(request))[key]
    wanted = {entry.replica_id for entry in snapshot.replicas}
    for _ in range(10_000):
        handle.call()
        router = handle.runtime.routers[handle.deployment]
        if {load.replica_id for load in router.replicas} == wanted:
            return wanted
    raise AssertionError(f"{router.replicas}, not {wanted}")


async def turn() -> None:
    """Let a loop go round once."""


def kill(replica_id: str) -> None:
    """End a replica as `kill -9` would."""
    [actor] = [
        actor
        for name, actor in _current.current().cluster._actors.items()
        if name.endswith(f"replica:{replica_id}")
    ]
    actor.kill()


# --- running and calling ----------------------------------------------------------------


def test_a_function_and_a_class(local):
    """`serve.run` returns when the application answers."""
    assert local.run(hello.bind()).call() == "hello world"
    assert local.run(Who.bind("blue"), name="who").call(method="ask_label") == "blue"


def test_the_first_answer_within_a_second(local):
    """From `serve.run`, cluster included, to the first answer: of work, on a machine of our own."""
    began = time.process_time()
    local.run(hello.bind()).call()
    assert time.process_time() - began < 1.0


@serve.deployment
class Driver:
    """Calls two others, one of them twice bound."""

    def __init__(self, one: Any, *, more: dict[str, list[Any]]) -> None:
        self.one = one
        self.two = more["handles"]

    async def __call__(self, text: str) -> list[str]:
        request = current_call.get()
        assert request is not None
        GATE.notes.append(request.request_id)
        return [await handle.ask(text) for handle in (self.one, *self.two)]


@serve.deployment
class Suffix:
    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    async def __call__(self, text: str) -> str:
        request = current_call.get()
        assert request is not None
        GATE.notes.append(request.request_id)
        return text + self.suffix


def test_bound_deployments_become_handles(local, gate):
    """Anywhere in the arguments; the same bound object is one deployment; the request id stays."""
    shared, other = Suffix.bind("!"), Suffix.bind("?")
    handle = local.run(Driver.bind(shared, more={"handles": [other, shared]}))
    assert handle.call("a") == ["a!", "a?", "a!"]
    assert sorted(local.status().applications["default"].deployments) == [
        "Driver",
        "Suffix",
        "Suffix_1",
    ]
    assert len(set(gate.notes)) == 1


@serve.deployment
class Streamer:
    def sync(self, count: int) -> Any:
        yield from range(count)

    async def asynchronous(self, count: int) -> Any:
        for n in range(count):
            yield n
        raise KeyError("after the items")


def test_streams(local):
    """Items of a generator arrive in order; an error after them arrives as itself."""
    handle = local.run(Streamer.bind())
    assert handle.call(500, method="sync", streaming=True) == list(range(500))
    with pytest.raises(KeyError, match="after the items"):
        handle.call(3, method="asynchronous", streaming=True)


class OwnError(Exception):
    """An error of a user's own type."""


@serve.deployment
def failing(how: str) -> None:
    if how == "exit":
        sys.exit(3)
    raise OwnError(how)


def test_errors_of_user_code(local):
    """The caller gets the user's own type; a `sys.exit()` ends the request, not the replica."""
    handle = local.run(failing.bind())
    with pytest.raises(OwnError, match="on purpose"):
        handle.call("on purpose")
    with pytest.raises(ServeError, match="SystemExit"):
        handle.call("exit")
    with pytest.raises(NotFoundError, match=r"default#failing has no method 'other'"):
        handle.call(method="other")
    with pytest.raises(OwnError, match="still there"):
        handle.call("still there")


def test_a_replica_knows_itself(local):
    """A replica's context holds the application, deployment, id, and the user's object."""

    class Known:
        def __init__(self):
            here = get_replica_context()
            self.first = (here.app_name, here.deployment, here.servable_object)

        def __call__(self):
            here = get_replica_context()
            return [*self.first, here.replica_tag, here.servable_object is self]

    app, name, before, tag, same = local.run(serve.deployment(Known).bind(), name="a").call()
    assert (app, name, before, same) == ("a", "Known", None, True)
    assert tag.startswith("a#Known#")
    with pytest.raises(ServeError, match="outside of a replica"):
        get_replica_context()


# --- limits, time, cancellation ---------------------------------------------------------


def test_calls_wait_and_are_refused_beyond_the_limit(local, gate):
    """With one call in flight and two queued, the fourth is refused; all others are answered."""
    handle = local.run(Slow.options(max_queued_requests=2).bind())
    first = handle.submit("1")
    assert gate.inside.acquire(timeout=WAIT_S)
    router = handle.runtime.routers[handle.deployment]
    waiting = [handle.submit(name) for name in "23"]
    refused = handle.submit("4")
    with pytest.raises(BackPressureError, match=r"default#Slow: 2 requests queued, limit 2"):
        refused.result(WAIT_S)
    gate.open.set()
    assert [future.result(WAIT_S) for future in (first, *waiting)] == ["1", "2", "3"]
    assert (router.in_flight, router.queued) == (0, 0)


def test_a_caller_that_goes_away_ends_the_work(local, gate):
    """A cancelled call cancels the user's coroutine, and frees its slot for the next call."""
    handle = local.run(Slow.bind())
    future = handle.submit(method="for_ever")
    assert gate.inside.acquire(timeout=WAIT_S)
    future.cancel()
    assert handle.call(method="fast") == "fast"
    assert gate.notes == ["cancelled"]


@serve.deployment
class Outer:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self) -> None:
        await self.inner.ask(method="for_ever")


def test_a_deadline_reaches_nested_calls(local, gate):
    """The deadline of a call cancels its nested calls, which have no timeout of their own."""
    handle = local.run(Outer.bind(Slow.bind()))
    with pytest.raises(DeadlineExceededError, match="default#Outer: no reply within 0"):
        handle.call(timeout_s=0.3)
    inner = type(handle)(handle.deployment._replace(name="Slow"), handle.runtime)
    assert inner.call(method="fast") == "fast"
    assert gate.notes == ["cancelled"]


# --- changes ----------------------------------------------------------------------------


def test_an_unchanged_application_restarts_nothing(local):
    """After a second run of the same application, the same replicas answer."""
    before = replicas(local.run(Who.bind("a")))
    assert replicas(local.run(Who.bind("a"))) == before


def make(version: int) -> Any:
    """Return a deployment whose code differs by version."""

    @serve.deployment(num_replicas=2, name="Who")
    def who(ask: str = "id") -> Any:
        return version if ask == "version" else get_replica_context().replica_id

    return who


def test_changed_code_gets_new_replicas(local):
    """A change of code or arguments replaces all replicas of that deployment, and no others."""
    old = replicas(local.run(make(1).bind()))
    handle = local.run(make(2).bind())
    assert not old & replicas(handle)
    assert handle.call("version") == 2


def test_an_update_loses_no_request(local):
    """Under load, while the code changes three times, some version answers every call."""
    handle = local.run(make(0).bind())
    stop = threading.Event()

    def load() -> list[int]:
        answers = []
        while not stop.is_set():
            answers.append(handle.call("version"))
        return answers

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for _ in range(4)]
        try:
            for version in (1, 2, 3):
                handle = local.run(make(version).bind())
        finally:
            stop.set()
    answers = [future.result() for future in loads]
    assert {each for some in answers for each in some} <= {0, 1, 2, 3}
    assert replicas(handle)
    assert handle.call("version") == 3


def test_more_and_fewer_replicas(local):
    """A change of num_replicas keeps as many running replicas as it can."""
    one = replicas(local.run(Who.options(num_replicas=1).bind()))
    three = replicas(local.run(Who.options(num_replicas=3).bind()))
    assert one < three
    assert len(three) == 3
    handle = local.run(Who.options(num_replicas=1).bind())
    states = local.status().applications["default"].deployments["Who"].replica_states
    assert states["RUNNING"] == 1
    assert replicas(handle) == one


def test_settings_reach_running_replicas(local, gate):
    """A changed `user_config` is in effect when `serve.run` returns, without a restart."""
    app = Who.options(num_replicas=1)
    handle = local.run(app.options(user_config={"v": 1}).bind())
    before = replicas(handle)
    for v in (2, 1, 1, 3):
        handle = local.run(app.options(user_config={"v": v}).bind())
        assert handle.call(method="get_config") == {"v": v}
        assert replicas(handle) == before
    assert [note["v"] for note in gate.notes] == [1, 2, 1, 3]


def test_settings_that_a_replica_refuses(local):
    """`serve.run` raises with the user's reason; it neither hangs nor reports success."""
    app = Who.options(num_replicas=1)
    local.run(app.options(user_config="good").bind())
    with pytest.raises(DeployError, match=r"ValueError: cannot take this"):
        local.run(app.options(user_config="bad").bind())
    handle = local.run(app.options(user_config="good").bind())
    assert handle.call(method="get_config") == "good"


def test_a_raised_limit_lets_more_in(local, gate):
    """A changed `max_ongoing_requests` holds for running replicas, sync handlers included."""
    local.run(Slow.bind())
    handle = local.run(Slow.options(max_ongoing_requests=3).bind())
    waiting = [handle.submit(name) for name in "123"]
    for _ in waiting:
        assert gate.inside.acquire(timeout=WAIT_S)
    gate.open.set()
    assert [future.result(WAIT_S) for future in waiting] == ["1", "2", "3"]


def test_deleting(local):
    """After a deletion, calls fail with the reason; other applications keep running."""
    gone, stays = local.run(hello.bind(), name="gone"), local.run(hello.bind(), name="stays")
    local.delete("gone")
    with pytest.raises(DeploymentUnavailableError, match=r"gone#hello is unavailable: .*"):
        gone.call()
    assert stays.call() == "hello world"
    assert list(local.status().applications) == ["stays"]
    local.delete("never there")
    assert local.run(hello.bind(), name="gone").call() == "hello world"
    assert gone.call() == "hello world"


def test_deleting_lets_requests_finish(local, gate):
    """A request in flight is answered before its replica ends."""
    handle = local.run(Slow.bind())
    future = handle.submit("last")
    assert gate.inside.acquire(timeout=WAIT_S)
    local.delete("default", _blocking=False)
    gate.open.set()
    assert future.result(WAIT_S) == "last"


def test_shutdown_leaves_nothing(local):
    """After a shutdown no thread and no status is left, and another instance can start."""
    before = {thread.name for thread in threading.enumerate()}
    local.run(Who.bind())
    session = _current.current()
    local.shutdown()
    assert not session.cluster._actors
    deadline = time.monotonic() + WAIT_S
    left = [t for t in threading.enumerate() if t.name not in before]
    for thread in left:
        thread.join(max(deadline - time.monotonic(), 0))
    left = [t.name for t in left if t.is_alive()]
    assert not left
    assert local.status() == serve.status()
    assert local.status().applications == {}
    local.shutdown()
    assert local.run(hello.bind()).call() == "hello world"


# --- status -----------------------------------------------------------------------------


def test_status_joins(monkeypatch):
    """`serve.status()` joins a running instance on Ray; without one, the status is empty."""
    joined = SimpleNamespace(status=lambda: "the instance's")
    monkeypatch.setattr(_current, "current", lambda: None)
    for session, status in ((joined, "the instance's"), (None, ServeStatus())):
        monkeypatch.setattr(_current, "attach", lambda session=session: session)
        assert serve.status() == status


def test_status(local, observer):
    """The status has applications, deployments and replica states; observers get the events."""
    assert local.status().applications == {}
    began = time.time()
    local.run(Who.bind(), name="a")
    status = local.status()
    overview = status.applications["a"]
    assert (overview.status, overview.message, overview.route_prefix) == ("RUNNING", "", None)
    assert began <= overview.last_deployed_time_s <= time.time()
    who = overview.deployments["Who"]
    assert (who.status, who.replica_states) == ("HEALTHY", {"RUNNING": 2})
    assert status.proxies == {}
    heard = [(event.kind, event.state) for event in observer.events]
    assert heard.count(("replica", "STARTING")) == heard.count(("replica", "RUNNING")) == 2
    assert heard[-1] == ("deployment", "HEALTHY")


# --- what goes wrong --------------------------------------------------------------------


@serve.deployment
class Broken:
    def __init__(self) -> None:
        self.load_weights()

    def load_weights(self) -> None:
        raise FileNotFoundError("weights.bin")


def test_a_constructor_that_raises(local):
    """The error begins with the reason and the user's own frame; other applications go on."""
    other = local.run(hello.bind(), name="other")
    with pytest.raises(DeployError) as caught:
        local.run(Broken.bind(), name="broken")
    lines = str(caught.value).splitlines()
    assert lines[0] == "broken#Broken: FileNotFoundError: weights.bin"
    frames = [line for line in lines if line.lstrip().startswith("File ")]
    assert all(__file__ in frame for frame in frames)
    assert frames[0].endswith("in __init__")
    assert local.status().applications["broken"].status == "DEPLOY_FAILED"
    assert other.call() == "hello world"
    with pytest.raises(DeploymentUnavailableError, match=r"broken#Broken is unavailable"):
        type(other)(other.deployment._replace(app="broken", name="Broken"), other.runtime).call()


def test_the_traceback_of_a_failed_deploy(local):
    """The traceback goes from the caller's line to the error, through one frame of alacarte's."""
    with pytest.raises(DeployError) as caught:
        local.run(Broken.bind())
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[0].filename == __file__
    assert len(frames) == 2
    assert caught.value.__context__ is None


@serve.deployment
class Lacking:
    def __init__(self) -> None:
        import torchh.nothing  # type: ignore[import-not-found]  # noqa: F401


def test_a_package_that_is_not_there(local):
    """The error says where to install it, and how to have Ray do so."""
    with pytest.raises(DeployError) as caught:
        local.run(Lacking.bind())
    line = str(caught.value).splitlines()[0]
    assert line.startswith(
        "default#Lacking: ModuleNotFoundError: No module named 'torchh'. Install"
    )
    assert "the package of module 'torchh' on every node that runs replicas" in line
    assert 'ray_actor_options={"runtime_env": {"pip": [...]}}' in line


def test_a_broken_update_leaves_the_old_version_at_work(local):
    """The old version's replicas serve until a new version starts."""
    handle = local.run(make(1).bind())
    old = replicas(handle)
    with pytest.raises(DeployError, match=r"weights\.bin"):
        local.run(Broken.options(name="Who", num_replicas=2).bind())
    assert replicas(handle) == old
    assert not old & replicas(local.run(make(2).bind()))
    assert handle.call("version") == 2


def test_a_replica_that_dies_is_replaced(local, gate):
    """A dead replica's call in flight fails with the reason; its successor answers the rest."""
    handle = local.run(Slow.bind())
    working = handle.submit("lost")
    assert gate.inside.acquire(timeout=WAIT_S)
    waiting = handle.submit("kept")
    [link] = handle.runtime.routers[handle.deployment].replicas
    kill(link.replica_id)
    with pytest.raises(ReplicaUnavailableError, match=f"replica {link.replica_id} was lost"):
        working.result(WAIT_S)
    assert gate.inside.acquire(timeout=WAIT_S)
    gate.open.set()
    assert waiting.result(WAIT_S) == "kept"
    [successor] = handle.runtime.routers[handle.deployment].replicas
    assert successor.replica_id != link.replica_id


def test_all_replicas_die_at_once(local):
    """When all replicas die, later calls wait for new replicas, and none is refused or lost."""
    handle = local.run(Who.bind())
    old = replicas(handle)
    for replica_id in old:
        kill(replica_id)
    router = handle.runtime.routers[handle.deployment]
    while old & {load.replica_id for load in router.replicas}:
        handle.runtime.submit(turn()).result(WAIT_S)
    assert handle.call(method="ask_label") == ""


def test_an_unknown_policy(local):
    """The error names the deployment and the known policies; nothing is deployed."""
    with pytest.raises(ServeError, match=r"default#hello: .*'typo'; registered policies: \['power"):
        local.run(hello.options(routing_policy="typo").bind())
    assert local.status().applications == {}


def test_a_route_without_alacarte_http(local):
    """Without a package that serves HTTP, a route prefix is refused, and the error names one."""
    with pytest.raises(PluginError, match=r"route_prefix='/a' .*pip install alacarte-http"):
        local.run(hello.bind(), route_prefix="/a")


def test_one_process_is_on_one_cluster(local):
    """A start with the same kind of cluster joins; another kind is an error."""
    local.run(hello.bind())
    local.start(cluster="local")
    with pytest.raises(ConfigError, match=r"runs on the local cluster already"):
        local.start(cluster="ray")
    with pytest.raises(ConfigError, match=r"cluster='cloud' .* must be 'ray' or 'local'"):
        local.start(cluster="cloud")


def test_a_bad_option_leaves_nothing_behind(local):
    """`serve.start` checks its options before it starts anything."""
    with pytest.raises(ConfigError, match=r"cluster_options: transport='pigeon'"):
        local.start(cluster_options={"transport": "pigeon"})
    assert _current.current() is None


def test_options_come_too_late(local, caplog, monkeypatch):
    """A running instance keeps its options; a warning names those that are ignored."""
    local.start(cluster_options={"max_message_bytes": 2**20})
    with caplog.at_level("WARNING", "alacarte"):
        local.start(cluster_options={"max_message_bytes": 2**21})
    assert "cluster options and ignores max_message_bytes" in caplog.text


def test_nothing_runs(monkeypatch: pytest.MonkeyPatch):
    """Without an instance, the status is empty and a shutdown does nothing."""
    monkeypatch.setenv("RAY_ADDRESS", "local")  # a Ray that runs on this machine is not ours
    assert serve.status().applications == {}
    serve.shutdown()


def test_no_ray(tmp_path):
    """The local cluster never imports Ray, and ends with its program.

    On each Python: 3.12 starts no threads at exit.
    """
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from alacarte import serve

            assert not {"ray", "starlette", "uvicorn", "fastapi"} & set(sys.modules)

            @serve.deployment
            def hello():
                return "hello"

            if __name__ == "__main__":
                serve.start(cluster="local")
                serve.run(hello.bind(), name="a")
                print(serve.status().applications["a"].status.value)
                assert "ray" not in sys.modules
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=20,  # giving replicas up takes 30
        check=False,
        env={"PATH": "", "ALACARTE_DISABLE_PLUGINS": "http", "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (0, "RUNNING\n"), done.stderr
