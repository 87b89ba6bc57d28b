"""Faults: what may fail, what it is answered with, and that nothing is left of it."""

from __future__ import annotations

import concurrent.futures
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.applications import Gated, Versioned
from tests.integration.instance import Answer, Instance
from tests.integration.load import Load

from alacarte import serve
from alacarte.errors import BackPressureError, ReplicaUnavailableError
from alacarte.testing import wait_until


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads to send requests from."""
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        yield pool


def noted(path: Path) -> list[str]:
    """Return the lines of a file that may not be there yet."""
    return path.read_text().split() if path.exists() else []


def gate_opens(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor, size: int
) -> bool:
    """Tell whether as many requests as fit get in at once: none of those slots is taken."""
    name = f"wait-gate-{time.monotonic_ns()}"
    asked = [pool.submit(here.get, f"/{name}") for _ in range(size)]
    wait_until(lambda: len(noted(tmp_path / f"{name}.started")) == size, 10, "all to be inside")
    (tmp_path / f"{name}.open").touch()
    return all(future.result().status == 200 for future in asked)


# --- death ------------------------------------------------------------------------------


@pytest.mark.minimums
def test_a_replica_is_killed(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor
):
    """Only what it had begun fails, with 503 and the reason; the others never notice.

    It is replaced, and every slot is free again.
    """
    limit = 4
    serve.run(Gated.options(num_replicas=2, max_ongoing_requests=limit).bind(str(tmp_path)))
    before = here.replicas()
    pids = {here.pid(replica) for replica in before}
    under_way = [pool.submit(here.get, "/wait") for _ in range(2 * limit)]
    wait_until(lambda: len(noted(tmp_path / "wait.started")) == 2 * limit)
    victim = before[0]
    begun = Counter(noted(tmp_path / "wait.started"))[victim]
    assert begun == limit
    killed_at = time.monotonic()
    here.kill_replica(victim)
    failed = [future.result() for future in next_done(under_way, begun)]
    assert [answer.status for answer in failed] == [503] * begun
    for answer in failed:
        assert "may have run" in answer.text
        assert answer.headers["retry-safe"] == "no"
        assert answer.done_at - killed_at < 1.0
    wait_until(lambda: len(here.replicas()) == 2 and victim not in here.replicas(), 20)
    (tmp_path / "wait.open").touch()
    answers = [future.result() for future in under_way]
    assert Counter(answer.status for answer in answers) == {200: limit, 503: limit}
    here.settled()
    if here.on_ray:
        assert len({here.pid(each) for each in here.replicas()} - pids) == 1
    assert gate_opens(here, tmp_path, pool, 2 * limit)


def test_a_replica_is_killed_under_load(here: Instance):
    """No more fail than were in flight there; what comes later is answered by the others."""
    serve.run(Versioned.bind("one"))
    victim = here.replicas()[0]
    with Load(here.url) as load:
        load.more(200)
        killed_at = time.monotonic()
        here.kill_replica(victim)
        load.more(300)
        wait_until(lambda: len(here.replicas()) == 2, 20)
        load.more(200)
    failures = load.failures
    assert len(failures) <= 10
    for answer in failures:
        assert answer.status == 503, answer
        assert answer.headers["retry-safe"] == "no"
        # Those that were on their way when it died.
        assert answer.sent_at < killed_at + 0.2
    assert victim not in here.replicas()
    here.settled()


def test_a_handle_and_a_killed_replica(here: Instance, tmp_path: Path):
    """A handle's call that was begun there raises, and says that it may have run."""
    from tests.integration.applications import Tools

    handle = serve.run(Tools.bind(str(tmp_path)), route_prefix=None)
    response = handle.wait.remote("killed")
    wait_until((tmp_path / "killed.started").exists)
    here.kill_replica(here.replicas()[0])
    with pytest.raises(ReplicaUnavailableError, match="may have run, and was not retried"):
        response.result(timeout_s=10)
    # The next one waits for the replacement.
    assert handle.add.remote(1, 2).result(timeout_s=20) == 3


@pytest.mark.minimums
def test_the_proxy_is_killed(here: Instance):
    """It is started again, at the same port, and answers within a few seconds."""
    serve.run(Versioned.bind("one"))
    before = here.replicas()
    here.kill_proxy()

    def answers() -> bool:
        try:
            return here.get().status == 200
        except OSError:
            return False

    wait_until(lambda: not answers(), 5, "the end of the proxy")
    wait_until(answers, 8, "a new proxy")
    assert here.replicas() == before
    wait_until(lambda: next(iter(serve.status().proxies.values())).status == "HEALTHY")


def test_capacity_goes_and_comes_back(here: Instance):
    """Two seconds without any replica under load: waiting requests are answered at once after.

    The load would be half of what one replica can do, so nothing is in the way of recovering.
    """
    serve.run(Versioned.options(num_replicas=1).bind("one"))
    with Load(here.url, rate=100, workers=64) as load:
        load.more(100)
        killed = here.replicas()[0]
        here.kill_replica(killed)
        killed_at = time.monotonic()
        wait_until(lambda: [other for other in here.replicas() if other != killed], 20)
        back_at = time.monotonic()
        # What had waited is answered in a burst; the promise is about what is sent after it.
        load.until(lambda seen: sum(answer.sent_at > back_at + 1 for answer in seen) >= 50)
    # What was in flight there; at this load that is hardly ever more than one.
    assert len(load.failures) <= 10
    assert all(answer.sent_at <= killed_at + 0.2 for answer in load.failures), load.failures
    late = [answer for answer in load.answers if answer.sent_at > back_at + 1]
    assert late
    assert max(answer.done_at - answer.sent_at for answer in late) < 0.5
    here.settled()


# --- too much, too early, too late ------------------------------------------------------


@pytest.mark.minimums
def test_the_queue_is_full(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor
):
    """What does not fit is refused at once: 503 with a whole number in Retry-After."""
    deployment = Gated.options(max_ongoing_requests=2, max_queued_requests=3)
    handle = serve.run(deployment.bind(str(tmp_path)))
    assert handle.running_now.remote().result() == 0
    asked = [pool.submit(here.get, "/wait") for _ in range(12)]
    refused = [future.result() for future in next_done(asked, 7)]
    assert [answer.status for answer in refused] == [503] * 7
    assert all(answer.headers["retry-after"].isdigit() for answer in refused)
    assert all(len(answer.body) < 200 for answer in refused)
    # Each calling process has a queue of its own. Two calls find out only at the replica that it
    # is full, and wait as well.
    responses = [handle.running_now.remote() for _ in range(6)]
    with pytest.raises(BackPressureError, match=r"default#Gated: \d requests queued, limit 3"):
        responses[-1].result(timeout_s=10)
    (tmp_path / "wait.open").touch()
    for response in responses[:3]:
        assert response.result(timeout_s=10) <= 2
    assert Counter(future.result().status for future in asked) == {200: 5, 503: 7}
    here.settled()
    assert gate_opens(here, tmp_path, pool, 2)


def next_done(
    futures: list[concurrent.futures.Future[Answer]], count: int
) -> list[concurrent.futures.Future[Answer]]:
    """Wait until that many are done; return them."""
    wait_until(lambda: sum(future.done() for future in futures) >= count, 20, f"{count} answers")
    return [future for future in futures if future.done()]


def test_deployed_but_not_ready(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor
):
    """While its first constructor runs, an application answers 503, and when to ask again."""
    running = pool.submit(serve.run, Gated.bind(str(tmp_path), "constructed"))
    wait_until(lambda: here.get("/-/routes").text == '{"/":"default"}')
    refused = [here.get("/") for _ in range(5)]
    assert [answer.status for answer in refused] == [503] * 5
    assert all(answer.headers["retry-after"].isdigit() for answer in refused)
    assert serve.status().applications["default"].status == "DEPLOYING"
    (tmp_path / "constructed").touch()
    running.result(30)
    assert here.get("/").status == 200


def test_a_user_exception(here: Instance, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The client learns nothing of it; the log has the traceback."""
    serve.run(Gated.bind(str(tmp_path)))
    answer = here.get("/fail")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert "secret" not in str(answer.headers)
    assert here.get("/").status == 200
    if here.on_ray:
        wait_until(lambda: "a secret of the application" in logged(), description="the log")
    found = logged() if here.on_ray else caplog.text
    assert "in answer" in found
    assert "a secret of the application" in found


def logged() -> str:
    """Return what processes on Ray wrote to their logs."""
    logs = Path(tempfile.gettempdir()) / "ray" / "session_latest" / "logs"
    return "".join(path.read_text(errors="replace") for path in logs.glob("worker-*"))


# --- clients that leave -----------------------------------------------------------------


def test_a_client_leaves(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor
):
    """The handler is cancelled, and its slot is free again."""
    serve.run(Gated.options(max_ongoing_requests=2).bind(str(tmp_path)))
    for number in range(4):
        with socket.create_connection(("127.0.0.1", here.port)) as client:
            client.sendall(b"GET /wait-%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            wait_until((tmp_path / f"wait-{number}.started").exists)
        wait_until((tmp_path / f"wait-{number}.cancelled").exists, 2)
    here.settled()
    assert gate_opens(here, tmp_path, pool, 2)


@pytest.mark.minimums
def test_many_clients_leave(
    here: Instance, tmp_path: Path, pool: concurrent.futures.ThreadPoolExecutor
):
    """Of 2,000 requests every tenth is abandoned, by a reset: the others are all answered.

    Nothing is counted as in flight afterwards: as many as fit get in at once.
    """
    serve.run(Gated.options(max_ongoing_requests=16).bind(str(tmp_path)))

    def some(count: int) -> Counter[int]:
        client = Http(here.port)
        statuses: Counter[int] = Counter()
        for number in range(count):
            if number % 10 == 9:
                client.abandon("/brief")
            else:
                statuses[client.get("/brief" if number % 2 else "/")] += 1
        client.close()
        return statuses

    found = sum(pool.map(some, [100] * 20), Counter())
    assert found == {200: 1800}
    here.settled()
    assert gate_opens(here, tmp_path, pool, 16)


class Http:
    """The least of a client, which can hang up in the middle."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def get(self, path: str) -> int:
        """Return the status of a whole answer."""
        file = self._send(path).makefile("rb")
        status = int(file.readline().split()[1])
        length = 0
        while line := file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert len(file.read(length)) == length
        return status

    def abandon(self, path: str) -> None:
        """Send a request and reset the connection."""
        connection = self._send(path)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, path: str) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return self._socket
