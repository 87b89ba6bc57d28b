"""Large arguments from the driver's side: sent once, bounded, and never sent back."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from alacarte import serve
from alacarte._cluster.cluster_protocol import Actor
from alacarte._cluster.stubs import RemoteCall
from alacarte._model.blobs import BlobRef
from alacarte._model.deployment_spec import ApplicationSpec
from alacarte._process import controller_client
from alacarte._process.process_runtime import ProcessRuntime
from alacarte._wire.error_codec import rebuild_error
from alacarte.calls import python_call, python_result
from alacarte.errors import ConfigError, ConflictError
from alacarte.instance import build_deployments, get_instance
from alacarte.serve import _session
from alacarte.types import ProcessInfo, Resource

MIB = 1024**2
WAIT_S = 20.0


@serve.deployment
class Model:
    """A deployment that holds data and answers with its size."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)

    async def __call__(self) -> int:
        return self.size


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of large strings in each call to the controller."""
    sizes: list[int] = []
    send = controller_client.send

    async def counting(controller: Actor, call: RemoteCall) -> Any:
        if call.method == "apply":
            change, _, blobs = call.arguments
            sizes.append(sum(map(len, blobs.values())))
            assert len(change) < 20_000
        return await send(controller, call)

    monkeypatch.setattr(controller_client, "send", counting)
    return sizes


def test_large_arguments_are_sent_once(local: Any, sent: list[int]):
    """Arguments are sent once, not again for another option or another application."""
    data = os.urandom(MIB)
    assert local.run(Model.bind(data), name="a").call() == MIB
    assert [size > MIB for size in sent] == [False, True]
    sent.clear()
    assert local.run(Model.options(max_ongoing_requests=7).bind(data), name="a").call() == MIB
    assert local.run(Model.bind(data), name="b").call() == MIB
    assert max(sent) < MIB
    local.delete("a")
    local.delete("b")
    sent.clear()
    assert local.run(Model.bind(data), name="a").call() == MIB
    assert max(sent) > MIB


def test_arguments_beyond_the_limit_are_refused(local: Any, sent: list[int]):
    """Too large arguments are refused unsent; the error has both sizes and a remedy."""
    local.start(cluster_options={"max_bound_bytes": 2 * MIB})
    assert local.run(Model.bind(os.urandom(MIB))).call() == MIB
    sent.clear()
    with pytest.raises(ConfigError) as caught:
        local.run(Model.bind(os.urandom(3 * MIB)), name="big")
    assert str(caught.value) == (
        "big#Model: its code and the arguments of bind() take 3.0 MiB, most of it the arguments of "
        "bind(); the limit is 2.0 MiB. Load the data in the constructor and bind its path, or "
        "raise cluster_options.max_bound_bytes of serve.start()."
    )
    assert sent == []
    assert list(local.status().applications) == ["default"]


def test_the_controller_refuses_them_too(local: Any, monkeypatch: pytest.MonkeyPatch):
    """The controller refuses too large arguments of any sender."""
    local.start(cluster_options={"max_bound_bytes": MIB})
    monkeypatch.setattr(_session.Session, "_refuse_early", lambda *_: None)
    with pytest.raises(ConfigError, match="take 2.0 MiB"):
        local.run(Model.bind(os.urandom(2 * MIB)))


def test_large_strings_are_not_sent_back(local: Any):
    """Resources that a driver reads hold references, and can be applied again."""
    local.start()
    instance = get_instance()
    deployments = build_deployments(Model.bind(os.urandom(MIB)), name="made")
    spec = ApplicationSpec("made", None, deployments[-1].id, deployments)
    made = Resource("application", "made", spec)
    instance.apply(made)
    [found] = instance.resources("application")
    init = found.spec.deployments[0].init
    assert isinstance(init, BlobRef)
    assert len(init) > MIB
    assert found == made
    slower = deployments[0].config.model_copy(update={"max_ongoing_requests": 9})
    changed = replace(found.spec, deployments=(replace(found.spec.deployments[0], config=slower),))
    instance.apply(Resource("application", "made", changed), expected=[found])
    [again] = instance.resources("application")
    assert again.spec == changed
    instance.delete("application", "made")
    with pytest.raises(ConflictError):
        instance.apply(again, expected=[found])


def test_a_process_takes_over_a_new_secret(local: Any, plugins: Any):
    """A process reads the secret of a restarted controller, and can call its replicas."""
    handle = local.run(Model.bind(b"data"))
    here = handle.runtime

    async def call() -> Any:
        access = replace(here._access, secret=b"of a former life")
        runtime = ProcessRuntime(
            access,
            plugins,
            here.config,
            process=ProcessInfo("driver", "late", "local"),
            decode_error=rebuild_error,
        )
        try:
            request = python_call("__call__", (), {}, timeout_s=WAIT_S)
            return python_result(await runtime.service(handle.deployment)(request))
        finally:
            await runtime.close()

    assert here.submit(call()).result(WAIT_S) == 4
