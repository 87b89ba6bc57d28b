"""A plugin that fails for one application: the proxy goes on, and the status names it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request
from tests.integration.conftest import started
from tests.integration.instance import Client, Instance

from alacarte import plugins as process_plugins
from alacarte import serve
from alacarte.testing import wait_until

PLUGIN = "tests.integration.failing_plugin"


@pytest.fixture(scope="module")
def instance(cluster: str) -> Iterator[Instance]:
    """An instance with the plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALACARTE_PLUGINS", PLUGIN)
        process_plugins._load_once.cache_clear()
        yield from started(cluster)
    process_plugins._load_once.cache_clear()


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Model:
    async def __call__(self, request: Request) -> str:
        return "answer"


def test_one_application_fails_and_the_others_do_not(instance: Instance):
    """Those deployed before and after it are served; its own requests get 503."""
    for name in ("good", "bad", "later"):
        serve.run(Model.bind(), name=name, route_prefix=f"/{name}")
    client = Client(serve.status().urls[0])
    found = {name: client.get(f"/{name}").status for name in ("good", "bad", "later")}
    client.close()
    assert found == {"good": 200, "bad": 503, "later": 200}

    def failures() -> set[tuple[str, str, str]]:
        return {(f.plugin, f.hook, f.subject) for f in serve.status().plugin_failures}

    expected = (PLUGIN, "wrap_caller", "deployment bad#Model")
    wait_until(lambda: failures() == {expected}, 20, "the failure in the status")
