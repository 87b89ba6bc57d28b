"""The controller's state in the durable map: written apart, and whole wherever a writer ends."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from alacarte._cluster.cluster_protocol import ClusterUnresponsive
from alacarte._control import storage
from alacarte._control.desired_state import DesiredState
from alacarte._control.storage import (
    FORMAT,
    STATE_KEY,
    Index,
    Storage,
    StoredBlob,
    StoredResource,
    clear,
    decode_index,
)
from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError, InternalError
from alacarte.types import DeploymentId, Resource, UserCode

LARGE = 50_000


class Ended(BaseException):
    """The writer's process ends."""


class Map:
    """A durable map that counts what is written, and fails or ends its writer on demand.

    Attributes:
        left: Accesses until it does; None for never.
        does_it: It does what was asked for all the same.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.written = 0
        self.log: list[str] = []
        self.left: int | None = None
        self.does_it = False
        self.ends: type[BaseException] = ClusterUnresponsive

    @property
    def size(self) -> int:
        return sum(map(len, self.stored.values()))

    def _fails(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left == 0

    async def get(self, key: str) -> bytes | None:
        if self._fails():
            raise self.ends("no answer")
        return self.stored.get(key)

    async def keys(self, prefix: str) -> list[str]:
        if self._fails():
            raise self.ends("no answer")
        return [key for key in self.stored if key.startswith(prefix)]

    async def put(self, key: str, value: bytes) -> None:
        fails = self._fails()
        if not fails or self.does_it:
            self.log.append(f"put {key}")
            self.written += len(value)
            self.stored[key] = value
        if fails:
            raise self.ends("no answer")

    async def delete(self, key: str) -> None:
        fails = self._fails()
        if not fails or self.does_it:
            self.log.append(f"delete {key}")
            self.stored.pop(key, None)
        if fails:
            raise self.ends("no answer")


def application(name: str, code: bytes = b"code", init: bytes = b"init") -> Resource:
    spec = DeploymentSpec(DeploymentId(name, "x"), "v1", code, init, False, DeploymentConfig())
    return Resource("application", name, ApplicationSpec(name, None, spec.id, (spec,)))


def large(letter: str) -> bytes:
    return letter.encode() * LARGE


async def stored_in(there: Map) -> DesiredState | None:
    """Return the state that a new controller finds."""
    return await Storage(there).load()  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte strings lie in several parts."""
    monkeypatch.setattr(storage, "_PART_BYTES", 20_000)


@pytest.fixture
def there() -> Map:
    return Map()


@pytest.fixture
async def here(there: Map) -> Storage:
    storage = Storage(there)  # type: ignore[arg-type]
    assert await storage.load() is None
    await storage.save(DesiredState("i", {"http": {"port": 8000}}, ("http.password",)))
    return storage


def added(here: Storage, *resources: Resource) -> DesiredState:
    assert here.state is not None
    state = here.state
    for resource in resources:
        state = state.with_resource(resource, float(len(state.resources)))
    return state


async def test_a_new_controller_finds_the_state_as_it_was(there: Map, here: Storage):
    """A new controller finds the same resources, order, byte strings and times."""
    shared = large("s")
    for name in ("b", "a", "c"):
        await here.save(added(here, application(name, shared, large(name))))
    await here.save(added(here, application("a", shared, large("z"))))
    found = await stored_in(there)
    assert found == here.state
    assert found is not None
    assert list(found.resources) == [("application", name) for name in "bac"]
    assert found.withheld == ("http.password",)


async def test_a_byte_string_is_stored_once(there: Map, here: Storage):
    """Resources share a stored byte string, and a repeated apply stores none."""
    shared = large("s")
    await here.save(added(here, *[application(f"a{n}", shared) for n in range(20)]))
    assert LARGE < there.size < 2 * LARGE
    before = there.written
    await here.save(added(here, application("a0", shared, b"other arguments")))
    assert there.written - before < 5_000


async def test_a_change_costs_nothing_of_what_others_have(there: Map, here: Storage):
    """A change of one application does not write the byte strings of others."""
    await here.save(added(here, application("big", large("b"), large("c"))))
    before, size = there.written, there.size
    await here.save(added(here, application("tiny")))
    assert here.state is not None
    await here.save(here.state.without(("application", "tiny")))
    assert there.written - before < 5_000
    assert there.size == pytest.approx(size, abs=200)


async def test_ten_thousand_changes_leave_the_store_as_large_as_the_state(
    there: Map, here: Storage
):
    """Replaced and deleted values leave no keys."""
    await here.save(added(here, application("stays", large("s"))))
    size, keys = there.size, len(there.stored)
    for number in range(5_000):
        name = f"a{number % 7}"
        await here.save(added(here, application(name, b"%d" % number * 2_000)))
        assert here.state is not None
        await here.save(here.state.without(("application", name)))
    assert len(there.stored) == keys
    assert there.size == pytest.approx(size, abs=200)


async def test_what_is_needed_is_written_before_what_needs_it(there: Map, here: Storage):
    """A change writes blobs, resources, the index, and then deletes unreferenced keys."""
    await here.save(added(here, application("a", large("a"))))
    there.log.clear()
    await here.save(added(here, application("a", large("b"))))
    kinds = [each.rpartition("/")[0].partition("/")[2].partition("/")[0] for each in there.log]
    verbs = [each.partition(" ")[0] for each in there.log]
    assert verbs == ["put"] * 5 + ["delete"] * 4
    assert kinds[:5] == ["blob", "blob", "blob", "resource", ""]
    assert there.log[4] == f"put {STATE_KEY}"


@pytest.mark.parametrize("does_it", [False, True], ids=["before", "after"])
async def test_a_controller_may_end_between_any_two_writes(
    there: Map, here: Storage, does_it: bool
):
    """The successor finds the old or the new state, whole, and deletes the rest."""
    first = added(here, application("a", large("a")), application("b", large("b")))
    await here.save(first)
    second = added(here, application("a", large("c")), application("d", large("d")))
    found, accesses = [], 0
    while True:
        accesses += 1
        copy = Map()
        copy.stored = dict(there.stored)
        writer = Storage(copy)  # type: ignore[arg-type]
        await writer.load()
        copy.left, copy.does_it, copy.ends = accesses, does_it, Ended
        try:
            await writer.save(second)
        except Ended:
            copy.left = None
            state = await stored_in(copy)
            assert state in (first, second)
            found.append(state == second)
            assert set(copy.stored) == {STATE_KEY} | decode_index(copy.stored[STATE_KEY]).keys
        else:
            break
    assert found == sorted(found), "it never goes back"
    assert {True, False} == set(found)


@pytest.mark.parametrize("does_it", [False, True], ids=["before", "after"])
async def test_a_silent_cluster_leaves_memory_and_store_the_same(
    there: Map, here: Storage, does_it: bool
):
    """A new controller finds the state that `save` reports, whichever write failed."""
    state = added(here, application("a", large("a")))
    for access in range(1, 20):
        before = here.state
        there.left, there.does_it = access, does_it
        try:
            await here.save(state)
        except ClusterUnresponsive:
            assert here.state == before
        else:
            assert here.state == state
        there.left = None
        await here.settle()
        copy = Map()
        copy.stored = dict(there.stored)
        assert await stored_in(copy) == here.state
        await here.save(DesiredState("i"))
    assert here.is_settled
    assert set(there.stored) == {STATE_KEY}


async def test_a_change_in_doubt_is_found_out(there: Map, here: Storage):
    """A stored index whose answer was lost is found after an outage."""
    state = added(here, application("a"))
    there.does_it = True

    async def silent(key: str) -> bytes | None:
        raise ClusterUnresponsive("no answer")

    there.left, there.get = 2, silent  # type: ignore[method-assign]
    with pytest.raises(ClusterUnresponsive):
        await here.save(state)
    assert here.state != state
    assert not here.is_settled
    with pytest.raises(ClusterUnresponsive):
        await here.save(state)
    del there.get  # type: ignore[method-assign]
    assert await here.settle()
    assert here.state == state
    assert not await here.settle()
    assert here.is_settled


async def test_a_former_controller_deletes_nothing_of_its_successor_s(there: Map, here: Storage):
    """A former controller with a change in doubt deletes no key of its successor."""
    state = added(here, application("a", large("a")))

    async def silent(key: str) -> bytes | None:
        raise ClusterUnresponsive("no answer")

    there.does_it, there.left, there.get = True, 5, silent  # type: ignore[method-assign]
    with pytest.raises(ClusterUnresponsive):
        await here.save(state)
    there.left = None
    del there.get  # type: ignore[method-assign]
    successor = Storage(there)  # type: ignore[arg-type]
    assert await successor.load() == state
    await successor.save(added(successor, application("b")))
    for attempt in (here.settle(), here.save(state), here.save(DesiredState("i"))):
        with pytest.raises(InternalError, match="another controller"):
            await attempt
    await here.collect()
    assert await stored_in(there) == successor.state


async def test_a_deletion_that_comes_late_hits_nothing_in_use(there: Map, here: Storage):
    """The same code, deleted and deployed again, lies elsewhere."""
    await here.save(added(here, application("a", large("a"))))
    old = set(there.stored) - {STATE_KEY}
    assert here.state is not None
    await here.save(here.state.without(("application", "a")))
    await here.save(added(here, application("a", large("a"))))
    for key in old:
        await there.delete(key)
    assert await stored_in(there) == here.state


@pytest.mark.parametrize("found", [1, 2, FORMAT + 1])
async def test_another_format_is_refused(there: Map, found: int):
    """The error names both formats and the remedy, and nothing is deleted."""
    data = pickle.dumps((found, b"a pickle of classes that are not known here"))
    there.stored = {STATE_KEY: data, "state/resource/1": b"?"}
    with pytest.raises(ConfigError, match=f"format {found}; this version .* {FORMAT}.*force=True"):
        await stored_in(there)
    assert len(there.stored) == 2
    await clear(there)  # type: ignore[arg-type]
    assert there.stored == {}


def test_stored_values_have_the_fields_of_their_format():
    """A new, removed or renamed field needs another `FORMAT`: pickles do not check."""
    values = [
        Index,
        StoredResource,
        StoredBlob,
        DesiredState,
        Resource,
        ApplicationSpec,
        DeploymentSpec,
    ]
    found = {each.__name__: _fields(each) for each in [*values, UserCode]}
    assert (FORMAT, found) == (
        3,
        {
            "Index": "revision facts resources blobs",
            "StoredResource": "place deployed_at blobs",
            "StoredBlob": "place size",
            "DesiredState": "instance config withheld resources deployed_at stopping held",
            "Resource": "kind name spec",
            "ApplicationSpec": "name route_prefix ingress deployments",
            "DeploymentSpec": "id version code init is_function config import_paths options"
            " scaling",
            "UserCode": "name code import_paths digest",
        },
    )


def _fields(value: type) -> str:
    return " ".join(each.name for each in dataclasses.fields(value))  # type: ignore[arg-type]


async def test_a_damaged_state_is_named(there: Map, here: Storage):
    """The error names the missing key and the remedy."""
    await here.save(added(here, application("a")))
    [key] = set(there.stored) - {STATE_KEY}
    del there.stored[key]
    with pytest.raises(ConfigError, match=f"damaged: {key} is missing.*deploy again"):
        await stored_in(there)


async def test_unanswered_deletions_are_made_up_for(there: Map, here: Storage):
    """At the next change, and by the next controller."""
    await here.save(added(here, application("a", large("a"))))
    there.left = 2
    assert here.state is not None
    await here.save(here.state.without(("application", "a")))
    there.left = None
    assert not here.is_settled
    assert len(there.stored) > 1
    await here.collect()
    assert set(there.stored) == {STATE_KEY}


def test_nothing_stored_shows_large_values():
    """The `repr` of a stored value does not contain the user's code."""
    spec = application("a", b"SECRET CODE", b"SECRET ARGUMENTS")
    assert "SECRET" not in repr(spec)
