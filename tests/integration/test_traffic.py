"""Split traffic: who gets how much, what changes of it cost, and what is told of it.

A share of random requests is right if it is within five standard deviations of the binomial
distribution: by chance alone, one test in 1.7 million would fail.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.backends import Noting, Release, Tagged
from tests.integration.instance import Client, Instance
from tests.integration.load import Load

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.testing import wait_until

SIGMAS = 5
KEYS = [f"user-{number}" for number in range(500)]


@pytest.fixture(scope="module")
def client(instance: Instance) -> Any:
    return serve.connect()


@pytest.fixture(scope="module")
def backends(client: Any) -> None:
    """Two backends that say who they are, behind `/split` and behind a handle only."""
    for tag in ("one", "two"):
        client.create_backend(tag, Tagged)
    client.create_endpoint("split", backend="one", route="/split")
    client.create_endpoint("handles", backend="one")


@pytest.fixture
def split(client: Any, backends: None) -> Iterator[Any]:
    """The client; all traffic goes to the first backend at the beginning."""
    client.set_traffic("split", {"one": 1.0})
    yield client
    client.set_traffic("split", {"one": 1.0})


def near(count: int, of: int, share: float) -> bool:
    """Tell whether a count is one that chance would give for its share of all."""
    return abs(count - of * share) <= SIGMAS * math.sqrt(of * share * (1 - share))


def answered(
    here: Instance, path: str, count: int, *, workers: int = 4, **options: Any
) -> Counter[str]:
    """Send so many requests over a few connections; all have to be answered."""

    def some(number: int) -> Counter[str]:
        client = Client(here.url)
        found: Counter[str] = Counter()
        for _ in range(number):
            answer = client.get(path, **options)
            assert answer.status == 200, answer
            found[answer.text] += 1
        client.close()
        return found

    assert count % workers == 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(some, [count // workers] * workers), Counter())


def homes(here: Instance) -> dict[str, str]:
    """Return the backend of each key, by HTTP."""
    client = Client(here.url)
    found = {key: client.get("/split", x_serve_shard_key=key).text for key in KEYS}
    client.close()
    return found


def counts(path: str, app: str) -> Any:
    """Return what status tells of a target's calls."""
    return serve.status().routes[path].targets[app].counts


# --- shares -----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.7, 0.99])
def test_ten_thousand_requests(instance: Instance, split: Any, share: float):
    """Each backend gets its share of them, within five standard deviations; status agrees."""
    split.set_traffic("split", {"one": share, "two": 1 - share})
    found = answered(instance, "/split", 10_000)
    assert found.keys() == {"one", "two"}
    assert near(found["one"], 10_000, share), found
    wait_until(lambda: counts("/split", "one").requests == found["one"], 20, "the counts")
    wait_until(lambda: counts("/split", "two").requests == found["two"], 20, "the counts")
    assert counts("/split", "one").errors == counts("/split", "two").errors == 0


def test_by_handle(split: Any):
    """Calls of a handle are split like those over HTTP, also where there is no HTTP."""
    split.set_traffic("handles", {"one": 0.7, "two": 0.3})
    handle = split.get_handle("handles")
    found: Counter[str] = Counter()
    for _ in range(20):
        asked = [handle.remote() for _ in range(50)]
        found.update(each.result(timeout_s=30) for each in asked)
    assert found.total() == 1000
    assert near(found["one"], 1000, 0.7), found
    assert "handles" in serve.status().routes
    split.set_traffic("handles", {"two": 1.0})
    assert {handle.remote().result(timeout_s=30) for _ in range(50)} == {"two"}


def test_new_weights_hold_from_the_next_request(instance: Instance, split: Any):
    """When `set_traffic` has returned, no request takes the old ones, by HTTP or by handle."""
    client = Client(instance.url)
    handle = split.get_handle("split")
    for tag in ("two", "one") * 10:
        split.set_traffic("split", {tag: 1.0})
        assert {client.get("/split").text for _ in range(20)} == {tag}
        assert {handle.remote().result(timeout_s=30) for _ in range(20)} == {tag}
    client.close()


@pytest.mark.minimums
def test_weights_that_change_under_load(instance: Instance, split: Any):
    """Weights change fifty times, and no request fails or waits for it."""
    with Load(instance.url, "/split", rate=300, workers=16) as load:
        load.more(50)
        for share in itertools.islice(itertools.cycle((0.0, 0.5, 1.0, 0.9, 0.1)), 50):
            split.set_traffic("split", {"one": share, "two": 1 - share})
        load.more(50)
    assert load.failures == []
    assert {*load.bodies} == {"one", "two"}
    assert max(answer.done_at - answer.sent_at for answer in load.answers) < 2


def test_an_incremental_rollout(instance: Instance, split: Any):
    """A new backend takes over step by step and the old one is deleted, without a lost request."""
    split.create_backend("old", Tagged)
    split.create_endpoint("rollout", backend="old", route="/rollout")
    with Load(instance.url, "/rollout", rate=200, workers=16) as load:
        load.more(50)
        split.create_backend("new", Tagged)
        for share in (0.1, 0.5, 1.0):
            split.set_traffic("rollout", {"old": 1 - share, "new": share})
            load.more(50)
        split.set_traffic("rollout", {"new": 1.0})
        split.delete_backend("old")
        load.more(50)
    assert load.failures == []
    assert {answer.text for answer in load.answers[:50]} == {"old"}
    assert {answer.text for answer in load.answers[-50:]} == {"new"}
    split.delete_endpoint("rollout")
    split.delete_backend("new")


# --- keys -------------------------------------------------------------------------------


def test_sticky_keys(instance: Instance, split: Any):
    """A key stays with its backend; when a weight grows by a tenth, a tenth of them moves there."""
    split.set_traffic("split", {"one": 0.5, "two": 0.5})
    before = homes(instance)
    assert homes(instance) == before
    assert near(Counter(before.values())["one"], len(KEYS), 0.5)
    handle = split.get_handle("split")
    for key in KEYS[:50]:
        assert handle.options(shard_key=key).remote().result(timeout_s=30) == before[key]

    split.set_traffic("split", {"one": 0.6, "two": 0.4})
    after = homes(instance)
    moved = Counter((before[key], after[key]) for key in KEYS if before[key] != after[key])
    assert moved.keys() == {("two", "one")}
    assert near(moved.total(), len(KEYS), 0.1), moved
    split.set_traffic("split", {"one": 0.5, "two": 0.5})
    assert homes(instance) == before


# --- shadows ----------------------------------------------------------------------------


class Shadow:
    """What `shadow`, a backend, does and has done with its copies of requests to `/shadowed`.

    Args:
        client: To say it by.
        directory: Where it and the backend `main` note what they were sent.
    """

    def __init__(self, client: Any, directory: Path) -> None:
        self._client = client
        self._directory = directory

    def becomes(self, then: str) -> None:
        """Have it answer, raise, wait for `opens`, or take so many seconds."""
        self._client.update_backend_config("shadow", {"user_config": then})

    def gets(self, share: float) -> None:
        """Have it get copies of this share of the requests."""
        self._client.shadow_traffic("shadowed", "shadow", share)

    def opens(self) -> None:
        """Let go of those requests that wait."""
        (self._directory / "open").touch()

    def closes(self) -> None:
        """Have further ones wait."""
        (self._directory / "open").unlink(missing_ok=True)

    def noted(self, tag: str, beginning: str) -> list[str]:
        """Return the bodies that a backend was sent, of those that begin so."""
        bodies = (self._directory / tag).read_text().split()
        return sorted(body for body in bodies if body.startswith(beginning))

    @property
    def counts(self) -> Any:
        return serve.status().routes["/shadowed"].shadows["shadow"].counts


def posted(here: Instance, bodies: list[str]) -> list[float]:
    """Send bodies one after the other, each to be answered as without a shadow; return times."""
    client = Client(here.url)
    times = []
    for body in bodies:
        answer = client.get("/shadowed", method="POST", body=body)
        assert (answer.status, answer.text) == (200, f"main {body}")
        times.append(answer.done_at - answer.sent_at)
    client.close()
    return times


@pytest.fixture(scope="module")
def made_shadow(client: Any, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Shadow:
    directory = tmp_path_factory.mktemp(f"shadow-{cluster}")
    for tag in ("main", "shadow"):
        client.create_backend(tag, Noting, str(directory), config={"user_config": "answer"})
    client.create_endpoint("shadowed", backend="main", route="/shadowed", methods=["POST"])
    return Shadow(client, directory)


@pytest.fixture
def shadow(made_shadow: Shadow) -> Iterator[Shadow]:
    """A shadow that answers, and gets nothing yet."""
    made_shadow.becomes("answer")
    made_shadow.closes()
    yield made_shadow
    made_shadow.opens()
    made_shadow.gets(0)


def test_copies(instance: Instance, shadow: Shadow):
    """A shadow gets exact copies: of all requests, or of its share of them."""
    shadow.gets(1.0)
    bodies = [f"all-{number}-{'x' * (number % 7 * 1000)}" for number in range(200)]
    posted(instance, bodies)
    wait_until(lambda: shadow.counts.requests == len(bodies), 30, "all copies")
    assert shadow.noted("shadow", "all") == shadow.noted("main", "all") == sorted(bodies)

    shadow.gets(0.3)
    posted(instance, [f"some-{number}" for number in range(1000)])
    shadow.gets(0)
    posted(instance, ["none"] * 50)
    copied = shadow.noted("shadow", "some")
    assert len(copied) == len({*copied})
    assert near(len(copied), 1000, 0.3), len(copied)
    assert shadow.noted("shadow", "none") == []


@pytest.mark.parametrize("then", ["raise", "0.1", "wait"])
def test_a_shadow_changes_nothing(instance: Instance, shadow: Shadow, then: str):
    """One that raises, hangs or is slow: answers are the same, and come as soon as without it.

    All copies are accounted for: those that were too many at once were dropped, and counted.
    """
    shadow.becomes(then)
    times: dict[float, list[float]] = {1.0: [], 0.0: []}
    for turn in range(3):
        for share, seen in times.items():
            shadow.gets(share)
            seen += posted(instance, [f"{then}-{turn}-{number}" for number in range(100)])
    # A copy costs the half of a millisecond or so, on a busy machine more; what a shadow takes
    # itself is a tenth of a second and longer.
    copied, plain = (statistics.median(seen) for seen in times.values())
    assert copied < 3 * plain + 0.02, (copied, plain)

    shadow.gets(1.0)
    posted(instance, [f"{then}-last-{number}" for number in range(100)])
    shadow.opens()
    wait_until(lambda: shadow.counts.requests + shadow.counts.dropped == 100, 30, "all copies")
    counts = shadow.counts
    assert counts.errors == (counts.requests if then == "raise" else 0)
    assert counts.dropped or then != "wait"


# --- faults -----------------------------------------------------------------------------


@pytest.mark.minimums
def test_the_controller_is_killed(instance: Instance, split: Any):
    """Under load nothing fails; the split goes on, is listed as it was, and can be changed."""
    split.set_traffic("split", {"one": 0.5, "two": 0.5})
    split.shadow_traffic("split", "two", 0.1)
    before = split.list_endpoints(), split.list_backends(), homes(instance)
    with Load(instance.url, "/split", rate=200, workers=16) as load:
        load.more(50)
        instance.kill_controller()
        load.more(400)
        assert (split.list_endpoints(), split.list_backends(), homes(instance)) == before
        split.shadow_traffic("split", "two", 0)
        split.set_traffic("split", {"two": 1.0})
        since = len(load.answers) + 16
        load.more(100)
    assert load.failures == []
    share = Counter(answer.text for answer in load.answers[50:450])
    assert near(share["one"], 400, 0.5), share
    assert {answer.text for answer in load.answers[since:]} == {"two"}
    wait_until(lambda: counts("/split", "two").requests > 0, 20, "counts, told anew")


def test_the_proxy_is_killed(instance: Instance, split: Any):
    """The next one splits as before, and sends each key to where it went."""
    split.set_traffic("split", {"one": 0.7, "two": 0.3})
    before = homes(instance)
    instance.kill_proxy()

    def answers() -> bool:
        try:
            return instance.get("/split").status == 200
        except OSError:
            return False

    wait_until(lambda: not answers(), 5, "the end of the proxy")
    wait_until(answers, 20, "a new proxy")
    assert homes(instance) == before
    found = answered(instance, "/split", 1000)
    assert near(found["one"], 1000, 0.7), found


# --- canaries of applications -----------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(instance: Instance) -> None:
    """An application at `/api`, and the next release of it off HTTP; the next one is slower."""
    serve.run(Release.bind("1", 0.01), name="stable", route_prefix="/api")
    serve.run(Release.bind("2", 0.05), name="canary", route_prefix=None)


@pytest.fixture
def releases(deployed: None) -> Iterator[None]:
    """Both; all goes to the stable one at the beginning."""
    yield
    serve.delete_traffic("/api")


def test_a_canary_and_its_reversal(instance: Instance, releases: None):
    """One call sends a share of a path to another application, and another takes it back."""
    serve.set_traffic("/api", {"stable": 0.75, "canary": 0.25})
    found = answered(instance, "/api/some/path", 400, workers=8)
    assert near(found["2"], 400, 0.25), found
    route = serve.status().routes["/api"]
    assert {name: target.weight for name, target in route.targets.items()} == {
        "stable": 0.75,
        "canary": 0.25,
    }
    for name in ("stable", "canary"):
        with pytest.raises(ConfigError, match="/api"):
            serve.delete(name)
    with pytest.raises(ConfigError, match="nobody.*stable"):
        serve.set_traffic("/api", {"stable": 0.5, "nobody": 0.5})
    with pytest.raises(ConfigError, match="/nowhere.*/api"):
        serve.set_traffic("/nowhere", {"stable": 1.0})
    serve.set_traffic("/api", {"stable": 1.0})
    assert answered(instance, "/api", 40).keys() == {"1"}
    for _ in range(2):
        serve.delete_traffic("/api")
    assert answered(instance, "/api", 40).keys() == {"1"}


def test_what_status_tells_of_a_canary(instance: Instance, releases: None):
    """How many requests each got, how many failed, and how long they took; anew after a change."""
    serve.set_traffic("/api", {"stable": 0.5, "canary": 0.5})
    began = time.time()
    good = answered(instance, "/api", 200, workers=8)
    client = Client(instance.url)
    failed = [client.get("/api?fail") for _ in range(20)]
    client.close()
    assert {answer.status for answer in failed} == {500}

    def told() -> int:
        targets = serve.status().routes["/api"].targets.values()
        return sum(target.counts.requests for target in targets)

    wait_until(lambda: told() == 220, 20, "the counts")
    stable, canary = counts("/api", "stable"), counts("/api", "canary")
    assert stable.errors + canary.errors == 20
    assert (stable.requests - stable.errors, canary.requests - canary.errors) == (
        good["1"],
        good["2"],
    )
    # A request takes its pause at least; how much more it takes, this machine decides.
    for found, pause_s in ((stable, 0.01), (canary, 0.05)):
        assert found.mean_s >= pause_s
        assert 0.9 * pause_s <= found.p50_s <= found.p95_s <= found.p99_s < 5
    assert canary.mean_s > stable.mean_s
    assert serve.status().routes["/api"].since <= began

    serve.set_traffic("/api", {"stable": 0.6, "canary": 0.4})
    assert told() == 0
    answered(instance, "/api", 40)
    wait_until(lambda: told() == 40, 20, "the counts")


def test_a_shadow_of_an_application(instance: Instance, releases: None):
    """A new release gets copies of all that the stable one answers."""
    serve.shadow_traffic("/api", "canary", 1.0)
    assert answered(instance, "/api", 40).keys() == {"1"}

    def copies() -> Any:
        return serve.status().routes["/api"].shadows["canary"].counts

    wait_until(lambda: copies().requests == 40, 20, "the copies")
    assert copies().errors == 0


def test_a_canary_is_promoted(instance: Instance, releases: None):
    """The stable application takes over the canary's code, and nobody's request is lost."""
    with Load(instance.url, "/api", rate=100, workers=16) as load:
        for share in (0.1, 0.5, 1.0):
            serve.set_traffic("/api", {"stable": 1 - share, "canary": share})
            load.more(30)
        serve.run(Release.bind("2"), name="stable", route_prefix="/api")
        serve.delete_traffic("/api")
        serve.delete("canary")
        load.more(30)
    assert load.failures == []
    assert {answer.text for answer in load.answers[-30:]} == {"2"}
    assert json.loads(instance.get("/-/routes").body)["/api"] == "stable"
