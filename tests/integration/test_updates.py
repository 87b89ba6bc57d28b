"""Updates: what has not changed stays, what has changes without a lost request."""

from __future__ import annotations

import pytest
from tests.integration.applications import Versioned
from tests.integration.instance import Instance
from tests.integration.load import Load

from alacarte import serve
from alacarte.errors import DeployError
from alacarte.testing import wait_until


def test_an_unchanged_redeploy(here: Instance):
    """Running the same application again restarts nothing."""
    serve.run(Versioned.bind("one"))
    before = here.replicas()
    pids = [here.pid(replica) for replica in before]
    serve.run(Versioned.bind("one"))
    assert here.replicas() == before
    assert [here.pid(replica) for replica in before] == pids


def test_what_needs_no_restart(here: Instance):
    """A new `max_ongoing_requests` is taken over by the replicas that run."""
    serve.run(Versioned.bind("one"))
    before = here.replicas()
    serve.run(Versioned.options(max_ongoing_requests=3, max_queued_requests=5).bind("one"))
    assert here.replicas() == before


@pytest.mark.minimums
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_new_version_under_load(here: Instance, replicas: int):
    """No request is lost, and new replicas answer before old ones leave, even with only one."""
    deployment = Versioned.options(num_replicas=replicas)
    serve.run(deployment.bind("one"))
    old = here.replicas()
    with Load(here.url, rate=500, workers=16) as load:
        load.more(200)
        serve.run(deployment.bind("two"))
        # By now, whatever comes in is answered by the new version.
        since = len(load.answers) + 16
        load.more(1000)
    assert load.failures == []
    assert load.bodies.total() == len(load.answers)
    assert {body.split()[0] for body in load.bodies} == {"one", "two"}
    assert {answer.text.split()[0] for answer in load.answers[since:]} == {"two"}
    assert not {*old} & {*here.replicas()}
    assert max(answer.done_at - answer.sent_at for answer in load.answers) < 2
    here.settled()


def test_capacity_during_an_update(here: Instance):
    """At no moment of an update fewer replicas run than are wanted."""
    serve.run(Versioned.bind("one"))
    seen: list[int] = []
    with Load(here.url, rate=50) as load:
        update = Updating(lambda: serve.run(Versioned.bind("two")))
        while update.running:
            seen.append(len(here.replicas()))
        load.more(20)
    assert min(seen) == 2
    assert load.failures == []


def test_more_and_fewer_replicas_under_load(here: Instance):
    """The number of replicas goes up and down again without a lost request or a restart."""
    serve.run(Versioned.options(num_replicas=1).bind("one"))
    first = here.replicas()
    with Load(here.url) as load:
        load.more(100)
        serve.run(Versioned.options(num_replicas=3).bind("one"))
        many = here.replicas()
        assert len(many) == 3
        # All of them get their share.
        load.until(lambda answers: {a.text.split()[1] for a in answers[-300:]} == {*many})
        serve.run(Versioned.options(num_replicas=1).bind("one"))
        load.more(300)
    assert load.failures == []
    assert here.replicas() == first
    here.settled()


def test_a_constructor_that_raises_in_an_update(here: Instance):
    """The user's own frame comes first in the error, and the old version goes on answering."""
    serve.run(Versioned.bind("one"))
    before = here.replicas()
    with Load(here.url, rate=100) as load:
        load.more(50)
        with pytest.raises(DeployError) as caught:
            serve.run(Versioned.bind("two", problem="no such model"))
        load.more(100)
    lines = str(caught.value).splitlines()
    assert lines[0] == "default#Versioned: ValueError: no such model"
    assert "Traceback" in lines[1]
    assert "applications.py" in lines[2]
    assert lines[2].endswith("in __init__")
    assert load.failures == []
    assert {body.split()[0] for body in load.bodies} == {"one"}
    assert here.replicas() == before
    status = serve.status().applications["default"]
    assert status.status == "DEPLOY_FAILED"
    assert "no such model" in status.message
    serve.run(Versioned.bind("three"))
    assert here.get().text.startswith("three ")


def test_a_first_version_that_does_not_start(here: Instance):
    """Other applications go on; the one that failed answers 503 until it is mended."""
    serve.run(Versioned.bind("other"), name="other", route_prefix="/other")
    with pytest.raises(DeployError, match="no such model"):
        serve.run(Versioned.bind("one", problem="no such model"))
    assert here.get("/other").status == 200
    answer = here.get("/")
    assert (answer.status, "failed to start" in answer.text) == (503, True)
    serve.run(Versioned.bind("one"))
    wait_until(lambda: here.get("/").status == 200)


class Updating:
    """Something that goes on in a thread of its own; an error of it comes out at the end."""

    def __init__(self, work: object) -> None:
        import concurrent.futures

        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._future = self._pool.submit(work)  # type: ignore[arg-type]

    @property
    def running(self) -> bool:
        if self._future.done():
            self._pool.shutdown()
            self._future.result()
            return False
        return True
